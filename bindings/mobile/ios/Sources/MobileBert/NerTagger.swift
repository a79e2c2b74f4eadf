internal import MobileBertNative

/// Finds names and other labelled pieces of texts of any length, with a model for token classification.
public final class NerTagger: BertTask {
    private let pipeline: TokenClassification

    /// Describes the model.
    public let info: ModelInfo

    /// Opens a model from wherever it is.
    public init(source: ModelSource, options: NerTaggerOptions) throws {
        pipeline = try source.opened(options, TokenClassification.open)
        info = ModelInfo(pipeline.facts())
    }

    /// Uses a model that is loaded. Options of loading do not apply.
    public init(model: BertModel, options: NerTaggerOptions) throws {
        pipeline = try model.shared(options, TokenClassification.ofModel)
        info = ModelInfo(pipeline.facts())
    }

    /// Finds the entities of a text, in its order.
    public func tag(_ text: String, call: CallOptions = CallOptions()) throws -> [Entity] {
        try entities([text], isList: false, call)[0]
    }

    /// Finds the entities of many texts.
    public func tagAll(_ texts: [String], call: CallOptions = CallOptions()) throws -> [[Entity]] {
        try entities(texts, isList: true, call)
    }

    private func entities(_ texts: [String], isList: Bool, _ call: CallOptions) throws -> [[Entity]] {
        let texts = try bounded("text", texts)
        let found = try call.calling {
            try pipeline.entities(
                texts: texts, isList: isList, options: $0, timeoutMillis: $1, cancellations: $2)
        }
        return zip(found, texts).map { entities, text in entities.map { Entity($0, in: text) } }
    }
}

extension NerTagger {
    /// A labelled piece of a text, such that `text[range] == word`.
    public struct Entity: Hashable, Sendable {
        /// The label, without a mark such as `B-` if tokens were joined.
        public let label: String
        /// The piece of the text.
        public let word: String
        /// The mean score of its parts.
        public let score: Float
        /// Its place, as indices of the text.
        public let range: Range<String.Index>
        /// Its place in UTF-16 units.
        public let utf16: Range<Int>
        /// True if tokens were joined.
        public let isGrouped: Bool
    }
}

extension NerTagger.Entity {
    fileprivate init(_ found: MobileBertNative.Entity, in text: String) {
        label = found.label
        word = found.word
        score = found.score
        range = found.place.range(in: text)
        utf16 = found.place.utf16
        isGrouped = found.grouped
    }
}

extension NerTagger {
    /// Finds the entities of a text in the background, in its order.
    public func tag(_ text: String, call: CallOptions = CallOptions()) async throws -> [Entity] {
        try await inBackground(call) { try self.tag(text, call: $0) }
    }

    /// Finds the entities of many texts in the background.
    public func tagAll(_ texts: [String], call: CallOptions = CallOptions()) async throws -> [[Entity]] {
        try await inBackground(call) { try self.tagAll(texts, call: $0) }
    }
}

/// The way in which the labels of tokens become entities.
public enum Aggregation: String, NamedValue, Hashable, Sendable {
    /// Each token is an entity of its own.
    case none
    /// Neighbouring tokens of one label are joined.
    case simple
    /// As `simple`, and a word has the label of its first token.
    case first
    /// As `simple`, and the scores of a word's tokens are averaged.
    case average
    /// As `simple`, and a word has the label of its most certain token.
    case max
}

/// The options of ``NerTagger``.
public struct NerTaggerOptions: TaskOptions, Hashable {
    /// How tokens are joined. Default: ``Aggregation/simple``.
    public var aggregation: Aggregation?
    /// The labels that are left out. Default: `O`.
    public var ignoredLabels: [String]?
    /// The longest sequence in tokens. Default: the limit of the model.
    public var maxLength: Int?
    /// The number of tokens that neighbouring windows of a long text share. Default: 128.
    public var docStride: Int?
    public var model: ModelOptions
    public var more: [String: OptionValue]

    public init() { self.init(aggregation: nil) }

    /// Makes options. What is `nil` has its default.
    public init(
        aggregation: Aggregation? = nil,
        ignoredLabels: [String]? = nil,
        maxLength: Int? = nil,
        docStride: Int? = nil,
        model: ModelOptions = ModelOptions(),
        more: [String: OptionValue] = [:]
    ) {
        self.aggregation = aggregation
        self.ignoredLabels = ignoredLabels
        self.maxLength = maxLength
        self.docStride = docStride
        self.model = model
        self.more = more
    }

    public var byName: [String: OptionValue] {
        collected([
            "aggregation_strategy": aggregation?.option,
            "ignore_labels": ignoredLabels.map(OptionValue.texts),
            "max_seq_len": maxLength?.option,
            "doc_stride": docStride?.option,
        ])
    }
}
