import Foundation
import MobileBert

private let names = ["config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"]

private func answer(_ qa: BertQuestionAnswerer) throws -> [QaAnswer] {
    try qa.answer(context: "It was built by Ada.", question: "Who built it?")
}

func sources(_ suite: Suite) throws {
    let expected = try answer(BertQuestionAnswerer(folder: qaFolder))
    func gives(_ source: ModelSource) throws {
        try same(expected, answer(BertQuestionAnswerer(source: source)))
    }
    func code(_ source: ModelSource) throws -> [String] {
        let failure = try fails { try BertQuestionAnswerer(source: source) }
        return [failure.code, failure.place ?? ""]
    }

    suite.test("a model opens by a name and by a path") {
        try gives(.named(qaFolder.path))
        // The environment of this process names the folder of models.
        try gives(.named("qa"))
        try same(["unknown_model", "no-such-model"], code(.named("no-such-model")))
        try same(
            ["unknown_model", "/no/such/folder"], code(.folder(URL(fileURLWithPath: "/no/such/folder"))))
    }
    suite.test("a model opens from the resources of a bundle") {
        let bundle = try holder(of: root.appendingPathComponent("models"))
        try gives(.resource("qa", in: bundle))
        try same(["unknown_model", "none"], code(.resource("none", in: bundle)))
    }
    suite.test("a model opens from bytes") {
        var files: [String: ModelFile] = [:]
        for name in names {
            let file = qaFolder.appendingPathComponent(name)
            // A part of some data has indices that do not begin with 0.
            let around =
                try Data(repeating: 7, count: 3) + Data(contentsOf: file) + Data(repeating: 7, count: 4)
            files[name] = .bytes(around[3..<around.count - 4])
        }
        let source = ModelSource.files(files)
        try gives(source)
        try gives(source)
        files["config.json"] = .bytes(Data())
        try holds(["json", "missing_file"].contains(code(.files(files))[0]), "an empty configuration")
    }
    suite.test("a model opens from ranges of an open file") {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("packed-\(UUID()).bin")
        defer { try? FileManager.default.removeItem(at: path) }
        var packed = Data()
        var places: [(String, Int64, Int64)] = []
        for name in names {
            packed.append(Data(repeating: 0, count: 5))
            let bytes = try Data(contentsOf: qaFolder.appendingPathComponent(name))
            places.append((name, Int64(packed.count), Int64(bytes.count)))
            packed.append(bytes)
        }
        try packed.write(to: path)
        let file = try FileHandle(forReadingFrom: path)
        let descriptor = file.fileDescriptor
        let range = { ModelFile.range(descriptor: descriptor, offset: $0, length: $1) }
        try holds(places.allSatisfy { $0.1 % 4096 != 0 }, "\(places)")
        let files = places.map { ($0, range($1, $2)) }
        let qa = try BertQuestionAnswerer(source: .files(Dictionary(uniqueKeysWithValues: files)))
        try file.close()
        try same(expected, answer(qa))
        let again = try FileHandle(forReadingFrom: path)
        defer { try? again.close() }
        let open = again.fileDescriptor
        for (offset, length, expected) in [
            (Int64(packed.count), Int64(1), "io"), (-1, 1, "input"), (0, -1, "input"), (.max, .max, "io"),
        ] {
            let odd = ModelFile.range(descriptor: open, offset: offset, length: length)
            try same([expected, "config.json"], code(.files(["config.json": odd])))
        }
        for descriptor in [Int32(-1), .min, 1_000_000] {
            let odd = ModelFile.range(descriptor: descriptor, offset: 0, length: 1)
            try same("io", code(.files(["config.json": odd]))[0])
        }
    }
}

/// Makes a bundle of a folder of resources.
private func holder(of folder: URL) throws -> Bundle {
    guard let bundle = Bundle(path: folder.path) else { throw Unexpected("no bundle at \(folder.path)") }
    return bundle
}
