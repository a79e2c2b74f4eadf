internal import MobileBertNative

/// The vector of a text.
public struct Embedding: Hashable, Sendable {
    /// Its numbers.
    public let values: [Float]
    /// True if the end of the text was not read because it did not fit the model.
    public let truncated: Bool

    /// Returns the cosine of two vectors of one length, from -1 to 1, and 0 if one of them is zero.
    ///
    /// - Throws: `input` if they are not of one length.
    public func cosineSimilarity(to other: Embedding) throws -> Double {
        guard values.count == other.values.count else {
            let counts = "\(values.count) and \(other.values.count)"
            throw MobileBertError("input", "the vectors have \(counts) numbers; pass two of one model")
        }
        var (product, square, otherSquare) = (0.0, 0.0, 0.0)
        for (a, b) in zip(values, other.values) {
            product += Double(a) * Double(b)
            square += Double(a) * Double(a)
            otherSquare += Double(b) * Double(b)
        }
        let lengths = square.squareRoot() * otherSquare.squareRoot()
        return lengths == 0 ? 0 : product / lengths
    }
}

/// The hidden states of a text: a row for each token, special tokens included.
public struct TokenStates: Hashable, Sendable {
    /// The rows.
    public let rows: [[Float]]
    /// True if the end of the text was not read because it did not fit the model.
    public let truncated: Bool
}

/// Turns texts into vectors that are close to each other if the texts mean the same.
public final class TextEmbedder: BertTask {
    private let pipeline: Embedder

    /// Describes the model.
    public let info: ModelInfo

    /// The numbers in a vector.
    public var dimensions: Int { Int(pipeline.dimensions()) }

    /// Opens a model from wherever it is.
    public init(source: ModelSource, options: TextEmbedderOptions) throws {
        pipeline = try source.opened(options, Embedder.open)
        info = ModelInfo(pipeline.facts())
    }

    /// Uses a model that is loaded. Options of loading do not apply.
    public init(model: BertModel, options: TextEmbedderOptions) throws {
        pipeline = try model.shared(options, Embedder.ofModel)
        info = ModelInfo(pipeline.facts())
    }

    /// Computes the vector of a text.
    public func embed(_ text: String, call: CallOptions = CallOptions()) throws -> Embedding {
        try vectors([text], isList: false, call)[0]
    }

    /// Computes the vectors of many texts.
    public func embedAll(_ texts: [String], call: CallOptions = CallOptions()) throws -> [Embedding] {
        try vectors(texts, isList: true, call)
    }

    /// Computes the hidden states of a text.
    public func tokenStates(_ text: String, call: CallOptions = CallOptions()) throws -> TokenStates {
        try states([text], isList: false, call)[0]
    }

    /// Computes the hidden states of many texts.
    public func tokenStatesAll(_ texts: [String], call: CallOptions = CallOptions()) throws -> [TokenStates] {
        try states(texts, isList: true, call)
    }

    private func vectors(_ texts: [String], isList: Bool, _ call: CallOptions) throws -> [Embedding] {
        let texts = try bounded("text", texts)
        let found = try call.calling {
            try pipeline.vectors(
                texts: texts, isList: isList, options: $0, timeoutMillis: $1, cancellations: $2)
        }
        return zip(rows(found.values, columns: found.columns), found.truncated).map(Embedding.init)
    }

    private func states(_ texts: [String], isList: Bool, _ call: CallOptions) throws -> [TokenStates] {
        let texts = try bounded("text", texts)
        let found = try call.calling {
            try pipeline.states(
                texts: texts, isList: isList, options: $0, timeoutMillis: $1, cancellations: $2)
        }
        return found.map { TokenStates(rows: rows($0.values, columns: $0.columns), truncated: $0.truncated) }
    }
}

extension TextEmbedder {
    /// Computes the vector of a text in the background.
    public func embed(_ text: String, call: CallOptions = CallOptions()) async throws -> Embedding {
        try await inBackground(call) { try self.embed(text, call: $0) }
    }

    /// Computes the vectors of many texts in the background.
    public func embedAll(_ texts: [String], call: CallOptions = CallOptions()) async throws -> [Embedding] {
        try await inBackground(call) { try self.embedAll(texts, call: $0) }
    }

    /// Computes the hidden states of a text in the background.
    public func tokenStates(_ text: String, call: CallOptions = CallOptions()) async throws -> TokenStates {
        try await inBackground(call) { try self.tokenStates(text, call: $0) }
    }

    /// Computes the hidden states of many texts in the background.
    public func tokenStatesAll(_ texts: [String], call: CallOptions = CallOptions()) async throws
        -> [TokenStates]
    {
        try await inBackground(call) { try self.tokenStatesAll(texts, call: $0) }
    }
}

/// The way in which the hidden states of tokens become one vector.
public enum Pooling: String, NamedValue, Hashable, Sendable {
    /// Their mean.
    case mean
    /// The state of the first token.
    case cls
    /// The largest of each number.
    case max
    /// Their sum, divided by the root of their number.
    case meanSqrtLen = "mean_sqrt_len"
    /// Their mean, in which later tokens weigh more.
    case weightedMean = "weighted_mean"
    /// The state of the last token.
    case lastToken = "last_token"
}

/// The options of ``TextEmbedder``.
public struct TextEmbedderOptions: TaskOptions, Hashable {
    /// How states become a vector. Default: what the model says, or their mean.
    public var pooling: Pooling?
    /// Says whether vectors are scaled to length 1. Default: what the model says, or true.
    public var l2Normalize: Bool?
    /// The longest sequence in tokens. Default: the limit of the model.
    public var maxLength: Int?
    public var model: ModelOptions
    public var more: [String: OptionValue]

    public init() { self.init(pooling: nil) }

    /// Makes options. What is `nil` has its default.
    public init(
        pooling: Pooling? = nil,
        l2Normalize: Bool? = nil,
        maxLength: Int? = nil,
        model: ModelOptions = ModelOptions(),
        more: [String: OptionValue] = [:]
    ) {
        self.pooling = pooling
        self.l2Normalize = l2Normalize
        self.maxLength = maxLength
        self.model = model
        self.more = more
    }

    public var byName: [String: OptionValue] {
        collected([
            "pooling": pooling?.option,
            "normalize": l2Normalize.map(OptionValue.flag),
            "max_seq_len": maxLength?.option,
        ])
    }
}
