import Foundation
internal import MobileBertNative

// What every call to the native library needs: errors in our form, sizes that can cross the border, options
// by name, and places as ranges.

/// Runs a call to the native library and throws its errors in the form that users know.
func native<Result>(_ call: () throws -> Result) throws -> Result {
    do {
        return try call()
    } catch Failure.Failed(let code, let text, let place, let index, let position) {
        throw MobileBertError(
            code, text, place: place, index: index.map(Int.init), position: position.map(Int.init))
    } catch let error as MobileBertError {
        throw error
    } catch {
        let problem =
            "the engine failed in a way that is a bug; please report it: \(error.localizedDescription)"
        throw MobileBertError(MobileBertError.panic, problem)
    }
}

/// The most bytes that a list of texts or a file may have. A list crosses the border in one piece, whose size
/// is a whole number of 32 bits.
let mostBytes = Int(Int32.max) - 64

/// Returns texts if all of them together can cross the border.
///
/// - Throws: `input`, which asks for a smaller list.
func bounded(_ what: String, _ texts: [String]) throws -> [String] {
    // Each text has its length in front of it.
    let bytes = texts.reduce(0) { sum, text in sum + text.utf8.count + 4 }
    guard bytes <= mostBytes else {
        let problem =
            "\(what): the texts have some \(bytes) bytes, and a call takes \(mostBytes); pass less at a time"
        throw MobileBertError("input", problem, place: what)
    }
    return texts
}

/// Returns a text if it can cross the border.
func bounded(_ what: String, _ text: String) throws -> String {
    _ = try bounded(what, [text])
    return text
}

/// Turns options by name into the form that crosses the border, in the order of their names.
func namedOptions(_ options: [String: OptionValue]) throws -> [NamedOption] {
    _ = try bounded("options", options.flatMap { name, value in [name] + value.allTexts })
    return options.sorted { $0.key < $1.key }.map { name, value in
        NamedOption(name: name, value: value.native)
    }
}

extension OptionValue {
    fileprivate var native: MobileBertNative.OptionValue {
        switch self {
        case .nothing: .nothing
        case .flag(let value): .flag(value: value)
        case .whole(let value): .whole(value: value)
        case .number(let value): .number(value: value)
        case .text(let value): .text(value: value)
        case .texts(let value): .texts(value: value)
        }
    }

    fileprivate var allTexts: [String] {
        switch self {
        case .text(let value): [value]
        case .texts(let value): value
        default: []
        }
    }
}

extension MobileBertNative.Piece {
    /// The place in UTF-16 units.
    var utf16: Range<Int> { Int(start)..<Int(end) }

    /// The place as indices of the text in which it was found.
    func range(in text: String) -> Range<String.Index> {
        let first = String.Index(utf16Offset: Int(start), in: text)
        return first..<text.utf16.index(first, offsetBy: Int(end - start))
    }
}

/// Turns the bytes of numbers, the lowest first, into rows of so many numbers.
func rows(_ bytes: Data, columns: Int32) -> [[Float]] {
    let columns = Int(columns)
    let size = MemoryLayout<UInt32>.size
    guard columns > 0 else { return [] }
    return bytes.withUnsafeBytes { bytes in
        (0..<bytes.count / (columns * size)).map { row in
            (0..<columns).map { column in
                let offset = (row * columns + column) * size
                let bits = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                return Float(bitPattern: UInt32(littleEndian: bits))
            }
        }
    }
}
