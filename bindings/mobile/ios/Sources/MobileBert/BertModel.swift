internal import MobileBertNative

/// What a loaded model is.
public struct ModelInfo: Hashable, Sendable {
    /// The task that it was trained for, by the name that `transformers` gives it, if there is a class for
    /// it.
    public let task: String?
    /// The labels of a classifier or tagger.
    public let labels: [String]
    /// The numbers in a hidden state.
    public let hiddenSize: Int
    /// The longest sequence in tokens.
    public let maxLength: Int
    /// The most threads that a call runs on.
    public let threads: Int
    /// The form in which it computes: `int8`, `bf16` or `f32`.
    public let precision: String
    /// The kernels that were chosen for this processor.
    public let kernel: String

    init(_ facts: ModelFacts) {
        task = facts.task
        labels = facts.labels
        hiddenSize = Int(facts.hiddenSize)
        maxLength = Int(facts.maxLength)
        threads = Int(facts.threads)
        precision = facts.precision
        kernel = facts.kernel
    }
}

/// A loaded model that several tasks share, such as answers and embeddings of one checkpoint. The tasks made
/// from it keep its weights alive.
public final class BertModel: Sendable {
    let native: Model

    /// Describes the model.
    public let info: ModelInfo

    /// Loads a model. The threads and the precision are those of all its tasks.
    public init(source: ModelSource, options: ModelOptions = ModelOptions()) throws {
        let loading = try options.loading()
        native = try source.open { try Model.open(source: $0, loading: loading, task: nil) }
        info = ModelInfo(native.facts())
    }

    /// Makes the native object of a task from the loaded model.
    func shared<Native>(
        _ options: some TaskOptions, _ make: (Model, [NamedOption]) throws -> Native
    ) throws -> Native {
        let named = try namedOptions(options.byName)
        return try MobileBert.native { try make(native, named) }
    }
}

/// How a model is loaded and run.
public struct ModelOptions: Hashable, Sendable {
    /// The number of threads for each call. With 1, a call runs on its own thread, and several threads run
    /// side by side. Default: one for each processor that the process may use.
    public var threads: Int?
    /// The form in which the model computes. Default: that of the stored weights.
    public var precision: Precision?
    /// False if `[SEP]` and the like in a text are plain characters. Default: they are special tokens.
    public var specialTokensInText: Bool?
    /// Who computes. Default: ``Delegate/native``.
    public var delegate: Delegate?

    /// Makes options. What is `nil` has its default.
    public init(
        threads: Int? = nil,
        precision: Precision? = nil,
        specialTokensInText: Bool? = nil,
        delegate: Delegate? = nil
    ) {
        self.threads = threads
        self.precision = precision
        self.specialTokensInText = specialTokensInText
        self.delegate = delegate
    }

    func loading() throws -> Loading {
        Loading(
            threads: threads.map(Int32.init(clamping:)),
            precision: precision?.rawValue,
            specialTokensInText: specialTokensInText,
            backend: try delegate.map { try bounded("backend", $0.backend) })
    }
}

extension ModelOptions {
    /// Who computes: the engine itself, or a backend that a product brings along.
    public struct Delegate: Hashable, Sendable {
        let backend: String

        /// The engine's own kernels, on the processor.
        public static let native = Delegate(backend: "native")

        /// A backend that the product's own native library has registered under this name. Opening fails with the
        /// code `option` if there is none.
        public static func named(_ name: String) -> Delegate { Delegate(backend: name) }

        private init(backend: String) { self.backend = backend }
    }
}

/// The form in which a model computes.
public enum Precision: String, Hashable, Sendable {
    /// Integers of 8 bits, with the same results on every machine.
    case int8
    /// Floats of 16 bits.
    case bf16
    /// Floats of 32 bits.
    case f32
}
