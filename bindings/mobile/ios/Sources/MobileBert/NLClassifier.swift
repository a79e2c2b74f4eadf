internal import MobileBertNative

/// A label with its score. Apple's runtime has a type `Category`.
public struct ResultCategory: Hashable, Sendable {
    /// The label.
    public let label: String
    /// The score.
    public let score: Float
}

/// The labels of a text, best first.
public struct Classification: Hashable, Sendable {
    /// The labels with their scores.
    public let categories: [ResultCategory]
    /// True if the end of the text was not read because it did not fit the model.
    public let truncated: Bool
}

/// ``NLClassifier`` under its other name in the TFLite Task Library.
public typealias BertNLClassifier = NLClassifier

/// Labels texts and pairs of texts.
public final class NLClassifier: BertTask {
    private let pipeline: TextClassification

    /// Describes the model.
    public let info: ModelInfo

    /// Opens a model from wherever it is.
    public init(source: ModelSource, options: ClassifierOptions) throws {
        pipeline = try source.opened(options, TextClassification.open)
        info = ModelInfo(pipeline.facts())
    }

    /// Uses a model that is loaded. Options of loading do not apply.
    public init(model: BertModel, options: ClassifierOptions) throws {
        pipeline = try model.shared(options, TextClassification.ofModel)
        info = ModelInfo(pipeline.facts())
    }

    /// Labels a text, best label first. The list has more than one if the option `topK` asks for it.
    public func classify(_ text: String, call: CallOptions = CallOptions()) throws -> [ResultCategory] {
        try classification(text, call: call).categories
    }

    /// Labels a text, and says whether all of it was read.
    public func classification(_ text: String, call: CallOptions = CallOptions()) throws -> Classification {
        try labels([text], nil, isList: false, call)[0]
    }

    /// Labels a pair of texts, such as a premise and a hypothesis.
    public func classifyPair(
        _ first: String, _ second: String, call: CallOptions = CallOptions()
    ) throws -> Classification {
        try labels([first], [second], isList: false, call)[0]
    }

    /// Labels many texts.
    public func classifyAll(_ texts: [String], call: CallOptions = CallOptions()) throws -> [Classification] {
        try labels(texts, nil, isList: true, call)
    }

    /// Labels many pairs of texts.
    public func classifyPairs(
        _ first: [String], _ second: [String], call: CallOptions = CallOptions()
    ) throws -> [Classification] {
        try labels(first, second, isList: true, call)
    }

    private func labels(
        _ texts: [String], _ second: [String]?, isList: Bool, _ call: CallOptions
    ) throws -> [Classification] {
        let texts = try bounded("text", texts)
        let second = try second.map { try bounded("second text", $0) }
        let found = try call.calling {
            try pipeline.labels(
                texts: texts, second: second, isList: isList, options: $0, timeoutMillis: $1,
                cancellations: $2)
        }
        return found.map { text in
            let categories = text.labels.map { ResultCategory(label: $0.label, score: $0.score) }
            return Classification(categories: categories, truncated: text.truncated)
        }
    }
}

extension NLClassifier {
    /// Labels a text in the background, best label first.
    public func classify(_ text: String, call: CallOptions = CallOptions()) async throws -> [ResultCategory] {
        try await inBackground(call) { try self.classify(text, call: $0) }
    }

    /// Labels a text in the background, and says whether all of it was read.
    public func classification(_ text: String, call: CallOptions = CallOptions()) async throws
        -> Classification
    {
        try await inBackground(call) { try self.classification(text, call: $0) }
    }

    /// Labels a pair of texts in the background.
    public func classifyPair(
        _ first: String, _ second: String, call: CallOptions = CallOptions()
    ) async throws -> Classification {
        try await inBackground(call) { try self.classifyPair(first, second, call: $0) }
    }

    /// Labels many texts in the background.
    public func classifyAll(_ texts: [String], call: CallOptions = CallOptions()) async throws
        -> [Classification]
    {
        try await inBackground(call) { try self.classifyAll(texts, call: $0) }
    }

    /// Labels many pairs of texts in the background.
    public func classifyPairs(
        _ first: [String], _ second: [String], call: CallOptions = CallOptions()
    ) async throws -> [Classification] {
        try await inBackground(call) { try self.classifyPairs(first, second, call: $0) }
    }
}

/// What is done with a text that is longer than the model reads.
public enum LongText: String, NamedValue, Hashable, Sendable {
    /// Its end is not read.
    case truncate
    /// It is read in windows, whose scores are averaged.
    case windowsMean = "windows-mean"
    /// It is read in windows, of which the highest score of each label counts.
    case windowsMax = "windows-max"
    /// It is an error.
    case refuse
}

/// The options of ``NLClassifier``.
public struct ClassifierOptions: TaskOptions, Hashable {
    /// The largest number of labels. Default: 1.
    public var topK: TopK?
    /// The lowest score of a label that is reported.
    public var threshold: Float?
    /// The only labels to report. Default: all.
    public var labels: [String]?
    /// What is done with long texts. Default: they are cut.
    public var longText: LongText?
    /// The longest sequence in tokens. Default: the limit of the model.
    public var maxLength: Int?
    /// The number of tokens that neighbouring windows of a long text share. Default: 128.
    public var docStride: Int?
    public var model: ModelOptions
    public var more: [String: OptionValue]

    public init() { self.init(topK: nil) }

    /// Makes options. What is `nil` has its default.
    public init(
        topK: TopK? = nil,
        threshold: Float? = nil,
        labels: [String]? = nil,
        longText: LongText? = nil,
        maxLength: Int? = nil,
        docStride: Int? = nil,
        model: ModelOptions = ModelOptions(),
        more: [String: OptionValue] = [:]
    ) {
        self.topK = topK
        self.threshold = threshold
        self.labels = labels
        self.longText = longText
        self.maxLength = maxLength
        self.docStride = docStride
        self.model = model
        self.more = more
    }

    public var byName: [String: OptionValue] {
        collected([
            "top_k": topK?.value,
            "threshold": threshold.map { .number(Double($0)) },
            "labels": labels.map(OptionValue.texts),
            "long_text": longText?.option,
            "max_seq_len": maxLength?.option,
            "doc_stride": docStride?.option,
        ])
    }
}
