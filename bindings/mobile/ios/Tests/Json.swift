import Foundation

/// A value of JSON. Texts are compared by their bytes.
indirect enum Json: Hashable, Decodable, CustomStringConvertible {
    case null
    case flag(Bool)
    case whole(Int)
    case number(Double)
    case bytes([UInt8])
    case list([Json])
    case fields([String: Json])

    static func text(_ text: some StringProtocol) -> Json { .bytes(Array(text.utf8)) }

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .flag(flag)
        } else if let whole = try? value.decode(Int.self) {
            self = .whole(whole)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([Json].self) {
            self = .list(list)
        } else {
            self = .fields(try value.decode([String: Json].self))
        }
    }

    static func read(_ file: URL) throws -> Json {
        try JSONDecoder().decode(Json.self, from: Data(contentsOf: file))
    }

    subscript(name: String) -> Json? {
        if case .fields(let fields) = self { fields[name] } else { nil }
    }

    var fields: [String: Json]? { if case .fields(let fields) = self { fields } else { nil } }
    var list: [Json]? { if case .list(let list) = self { list } else { nil } }
    var whole: Int? { if case .whole(let whole) = self { whole } else { nil } }
    var text: String? {
        if case .bytes(let bytes) = self { String(decoding: bytes, as: UTF8.self) } else { nil }
    }
    var texts: [String]? { list.map { $0.compactMap(\.text) } }

    var description: String {
        switch self {
        case .null: "null"
        case .flag(let value): "\(value)"
        case .whole(let value): "\(value)"
        case .number(let value): "\(value)"
        case .bytes: "\"\(text ?? "")\""
        case .list(let list): "\(list)"
        case .fields(let fields):
            "{" + fields.sorted { $0.key < $1.key }.map { "\($0): \($1)" }.joined(separator: ", ") + "}"
        }
    }
}
