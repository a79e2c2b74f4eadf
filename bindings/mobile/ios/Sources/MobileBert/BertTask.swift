import Dispatch
import Foundation
internal import MobileBertNative

/// A task with a model: ``BertQuestionAnswerer``, ``NLClassifier``, ``NerTagger``, ``TextEmbedder`` or
/// ``FillMask``.
///
/// Any number of threads may call one object at once. Its weights, which are not memory of Swift, are
/// released with the last reference to it.
///
/// Each call has two forms of one name. In an `async` function it runs on a thread of a pool, and ends when
/// its task is cancelled; elsewhere it blocks the thread that calls. For many texts, one call with all of
/// them takes less time and fewer threads than a call for each.
public protocol BertTask: AnyObject, Sendable {
    /// The options of the task.
    associatedtype Options: TaskOptions

    /// Describes the model.
    var info: ModelInfo { get }

    /// Opens a model from wherever it is.
    init(source: ModelSource, options: Options) throws

    /// Uses a model that is loaded. Options of loading do not apply.
    init(model: BertModel, options: Options) throws
}

extension BertTask {
    /// Opens a model folder.
    public init(folder: URL, options: Options = Options()) throws {
        try self.init(source: .folder(folder), options: options)
    }

    /// Opens a model from wherever it is.
    public init(source: ModelSource) throws {
        try self.init(source: source, options: Options())
    }

    /// Uses a model that is loaded.
    public init(model: BertModel) throws {
        try self.init(model: model, options: Options())
    }

    /// Opens a model on another thread, which takes some tenths of a second.
    public static func open(_ source: ModelSource, options: Options = Options()) async throws -> Self {
        try await elsewhere { try Self(source: source, options: options) }
    }
}

/// The options that a task is opened with. What is `nil` has its default.
public protocol TaskOptions: Sendable {
    /// How the model is loaded.
    var model: ModelOptions { get set }
    /// Options by the names that all languages have (docs/python.md lists them). They win over the others.
    var more: [String: OptionValue] { get set }
    /// All options that are set, by name.
    var byName: [String: OptionValue] { get }

    /// Makes the defaults.
    init()
}

/// A value of an option that has a name, the same in all languages.
protocol NamedValue: RawRepresentable<String> {}

extension NamedValue {
    var option: OptionValue { .text(rawValue) }
}

extension TaskOptions {
    /// Collects the values that are set, and those of `more`.
    func collected(_ values: [String: OptionValue?]) -> [String: OptionValue] {
        values.compactMapValues(\.self).replaced(by: more)
    }
}

extension Int {
    var option: OptionValue { .whole(Int64(self)) }
}

/// Runs a call in the background. A task that is cancelled ends it before its next pass.
func inBackground<Result: Sendable>(
    _ call: CallOptions,
    _ run: @escaping @Sendable (CallOptions) throws -> Result
) async throws -> Result {
    let cancellation = Cancellation()
    let options = call.ended(by: cancellation)
    do {
        return try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await elsewhere { try run(options) }
        } onCancel: {
            cancellation.cancel()
        }
    } catch let error as MobileBertError where error.code == "cancelled" && Task.isCancelled {
        // A cancelled task ends as tasks do, and not by the error of the call that it gave up.
        throw CancellationError()
    }
}

/// Runs work that takes long on a thread of a pool that may wait for it. Those of `async` functions may not.
private func elsewhere<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws
    -> Result
{
    try await withCheckedThrowingContinuation { continuation in
        threads.async { continuation.resume(with: Swift.Result { try work() }) }
    }
}

private let threads = DispatchQueue(label: "io.mobilebert", qos: .userInitiated, attributes: .concurrent)
