import Foundation
internal import MobileBertNative

/// An error of the engine: a model that cannot be opened, a text that cannot be read, an option out of range.
public struct MobileBertError: Error, Hashable, Sendable {
    /// The stable name of the kind of error, such as `empty_text`, `unknown_model` or `deadline_exceeded`.
    /// ``codes`` lists all.
    public let code: String
    /// What happened, where, what was expected and what to do.
    public let message: String
    /// Where it happened: an option's name, a file, or "text 3: question".
    public let place: String?
    /// The index in the list of inputs, from 0, if one of them is at fault.
    public let index: Int?
    /// The position in the text in UTF-16 units, if one character is at fault.
    public let position: Int?

    /// The code of a failure that is a bug of the engine. The object that was called can still be used.
    public static let panic = "panic"

    /// The codes that an error may have.
    public static var codes: [String] { errorCodes() + [panic] }

    init(_ code: String, _ message: String, place: String? = nil, index: Int? = nil, position: Int? = nil) {
        self.code = code
        self.message = message
        self.place = place
        self.index = index
        self.position = position
    }
}

extension MobileBertError: LocalizedError, CustomStringConvertible {
    /// The message.
    public var errorDescription: String? { message }

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}

extension String {
    /// Makes a text of UTF-16 units, as `NSString` and files of Windows have them.
    ///
    /// A `String` cannot hold half of a surrogate pair. Where one is converted by other means, the half
    /// becomes U+FFFD without a word, so that places in the text differ from those in its source. `role` says
    /// in an error what the text is.
    ///
    /// - Throws: `invalid_text` with the position of the first half of a pair.
    public init(checkedUTF16 units: [UInt16], role: String = "text") throws {
        if let lone = loneSurrogate(units) {
            let before = String(decoding: units[..<lone], as: UTF16.self)
            try native {
                try refuseSurrogate(
                    what: role, surrogate: UInt32(units[lone]), before: before, unit: nil, index: 0)
            }
        }
        self.init(decoding: units, as: UTF16.self)
    }
}

/// Returns the index of the first half of a surrogate pair that has no other half.
private func loneSurrogate(_ units: [UInt16]) -> Int? {
    var index = 0
    while index < units.count {
        if UTF16.isSurrogate(units[index]) {
            let next = index + 1
            let isPair =
                UTF16.isLeadSurrogate(units[index]) && next < units.count
                && UTF16.isTrailSurrogate(units[next])
            if !isPair { return index }
            index = next
        }
        index += 1
    }
    return nil
}
