internal import MobileBertNative

/// The value of an option that is set by its name. Most can be written as literals: `["doc_stride": 64]`.
public enum OptionValue: Hashable, Sendable {
    /// "All" where a number is expected, and the default elsewhere.
    case nothing
    /// True or false.
    case flag(Bool)
    /// A whole number.
    case whole(Int64)
    /// A finite number.
    case number(Double)
    /// A text.
    case text(String)
    /// A list of texts.
    case texts([String])
}

extension OptionValue: ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByStringLiteral, ExpressibleByArrayLiteral
{
    public init(booleanLiteral value: Bool) { self = .flag(value) }
    public init(integerLiteral value: Int64) { self = .whole(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(stringLiteral value: String) { self = .text(value) }
    public init(arrayLiteral elements: String...) { self = .texts(elements) }
}

/// The largest number of results: a number, or all there are.
public struct TopK: Hashable, Sendable, ExpressibleByIntegerLiteral {
    let value: OptionValue

    /// All results.
    public static let all = TopK(value: .nothing)

    /// At most so many.
    public init(_ count: Int) { value = .whole(Int64(count)) }

    public init(integerLiteral count: Int) { self.init(count) }

    private init(value: OptionValue) { self.value = value }
}

/// Ends calls from another thread. A call that was given this object ends with the code `cancelled` before
/// its next pass. One object may serve many calls.
///
/// An `async` call needs none: it ends when its task is cancelled.
public final class Cancellation: Sendable {
    let native = MobileBertNative.Cancellation()

    public init() {}

    /// True once it is cancelled.
    public var isCancelled: Bool { native.isCancelled() }

    /// Ends the calls. It may be called from any thread, and more than once.
    public func cancel() { native.cancel() }
}

/// What one call may change: options of its task, its time, and who may end it.
public struct CallOptions: Sendable {
    /// The largest number of results.
    public var topK: TopK?
    /// The time for the call. No pass begins after it, and the call fails with `deadline_exceeded`. With 0 no
    /// pass begins at all. A part of a millisecond counts as a whole one.
    public var timeout: Duration?
    /// The objects that end the call.
    public var cancellations: [Cancellation]
    /// Options of the task by the names that all languages have (docs/python.md lists them). They win over
    /// the others.
    public var more: [String: OptionValue]

    /// Makes the options of a call. What is left out is as its task was opened.
    public init(
        topK: TopK? = nil,
        timeout: Duration? = nil,
        cancellation: Cancellation? = nil,
        more: [String: OptionValue] = [:]
    ) {
        self.topK = topK
        self.timeout = timeout
        self.cancellations = cancellation.map { [$0] } ?? []
        self.more = more
    }

    /// Returns the same options with one more object that ends the call.
    func ended(by cancellation: Cancellation) -> CallOptions {
        var options = self
        options.cancellations.append(cancellation)
        return options
    }

    var timeoutMillis: Int64? { timeout.map(\.wholeMilliseconds) }

    /// Makes a call to the native library with these options.
    func calling<Result>(
        _ call: ([NamedOption], Int64?, [MobileBertNative.Cancellation]) throws -> Result
    ) throws -> Result {
        let options = try namedOptions(["top_k": topK?.value].compactMapValues(\.self).replaced(by: more))
        return try native { try call(options, timeoutMillis, cancellations.map(\.native)) }
    }
}

extension Dictionary {
    /// Returns these values and the others, which win.
    func replaced(by others: Self) -> Self { merging(others) { _, other in other } }
}

extension Duration {
    /// The time in milliseconds, away from 0, so that a negative one stays negative. One that does not fit is
    /// the largest or the smallest number.
    var wholeMilliseconds: Int64 {
        let attosecondsInMillisecond: Int64 = 1_000_000_000_000_000
        let (seconds, attoseconds) = components
        let (part, rest) = attoseconds.quotientAndRemainder(dividingBy: attosecondsInMillisecond)
        let (millis, isTooLong) = seconds.multipliedReportingOverflow(by: 1000)
        let (sum, isSumTooLong) = millis.addingReportingOverflow(part + rest.signum())
        return isTooLong || isSumTooLong ? (seconds < 0 ? .min : .max) : sum
    }
}
