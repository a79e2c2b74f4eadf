internal import MobileBertNative

/// A word for a mask.
public struct FillCandidate: Hashable, Sendable {
    /// The word.
    public let word: String
    /// The score.
    public let score: Float
    /// The text with the word in the place of the mask.
    public let sequence: String
    /// The number of the word in the vocabulary.
    public let token: Int
}

/// Finds words for masks, with a model for masked language.
public final class FillMask: BertTask {
    private let pipeline: MobileBertNative.FillMask

    /// Describes the model.
    public let info: ModelInfo

    /// The token that stands for a word to be found, such as `[MASK]`.
    public var maskToken: String { pipeline.maskToken() }

    /// Opens a model from wherever it is.
    public init(source: ModelSource, options: FillMaskOptions) throws {
        pipeline = try source.opened(options, MobileBertNative.FillMask.open)
        info = ModelInfo(pipeline.facts())
    }

    /// Uses a model that is loaded. Options of loading do not apply.
    public init(model: BertModel, options: FillMaskOptions) throws {
        pipeline = try model.shared(options, MobileBertNative.FillMask.ofModel)
        info = ModelInfo(pipeline.facts())
    }

    /// Finds words for each mask of a text, best first.
    public func fill(_ text: String, call: CallOptions = CallOptions()) throws -> [[FillCandidate]] {
        try fills([text], isList: false, call)[0]
    }

    /// Finds words for each mask of many texts.
    public func fillAll(_ texts: [String], call: CallOptions = CallOptions()) throws -> [[[FillCandidate]]] {
        try fills(texts, isList: true, call)
    }

    private func fills(_ texts: [String], isList: Bool, _ call: CallOptions) throws -> [[[FillCandidate]]] {
        let texts = try bounded("text", texts)
        let found = try call.calling {
            try pipeline.fills(
                texts: texts, isList: isList, options: $0, timeoutMillis: $1, cancellations: $2)
        }
        return found.map { masks in masks.map { words in words.map(FillCandidate.init) } }
    }
}

extension FillCandidate {
    fileprivate init(_ found: Fill) {
        word = found.word
        score = found.score
        sequence = found.sequence
        token = Int(found.token)
    }
}

extension FillMask {
    /// Finds words for each mask of a text in the background, best first.
    public func fill(_ text: String, call: CallOptions = CallOptions()) async throws -> [[FillCandidate]] {
        try await inBackground(call) { try self.fill(text, call: $0) }
    }

    /// Finds words for each mask of many texts in the background.
    public func fillAll(_ texts: [String], call: CallOptions = CallOptions()) async throws
        -> [[[FillCandidate]]]
    {
        try await inBackground(call) { try self.fillAll(texts, call: $0) }
    }
}

/// The options of ``FillMask``.
public struct FillMaskOptions: TaskOptions, Hashable {
    /// The number of words for each mask. Default: 5.
    public var topK: TopK?
    /// The only words to rank. Default: the whole vocabulary.
    public var targets: [String]?
    public var model: ModelOptions
    public var more: [String: OptionValue]

    public init() { self.init(topK: nil) }

    /// Makes options. What is `nil` has its default.
    public init(
        topK: TopK? = nil,
        targets: [String]? = nil,
        model: ModelOptions = ModelOptions(),
        more: [String: OptionValue] = [:]
    ) {
        self.topK = topK
        self.targets = targets
        self.model = model
        self.more = more
    }

    public var byName: [String: OptionValue] {
        collected(["top_k": topK?.value, "targets": targets.map(OptionValue.texts)])
    }
}
