import Foundation
import MobileBert

// The files of `bindings/vectors`: results that every binding must give, floats to the bit.

private let known: Set = ["answers", "classify", "embed", "errors", "fill", "tag", "text", "within"]

func vectors(_ suite: Suite) throws {
    let folder = root.appendingPathComponent("bindings/vectors")
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        .filter { $0.pathExtension == "json" }
        .sorted { $0.path < $1.path }
    suite.test("every file of vectors is known") {
        try same(known, Set(files.map { $0.deletingPathExtension().lastPathComponent }), "files")
    }
    let models = Models()
    for file in files {
        let content = try Json.read(file)
        let name = file.deletingPathExtension().lastPathComponent
        for (number, vector) in (content["cases"]?.list ?? []).enumerated() {
            let op = vector["op"]?.text ?? ""
            // These count offsets in several units. Swift gives its own and UTF-16, and no call takes any.
            if op == "offsets" { continue }
            suite.test("vector \(name)-\(number)-\(op)") {
                let expect = vector["expect"] ?? .null
                if op == "text" { return try text(models, vector["input"] ?? .null, expect) }
                try check(models, content["model"]?.text ?? "", op, vector, expect)
            }
        }
    }
}

/// The models that the vectors use, each opened once.
private final class Models {
    private var opened: [String: AnyObject] = [:]

    func open<Task: BertTask>(_ model: String) throws -> Task {
        let key = "\(Task.self) \(model)"
        if let task = opened[key] as? Task { return task }
        let task = try Task(folder: root.appendingPathComponent(model))
        opened[key] = task
        return task
    }
}

private func check(_ models: Models, _ model: String, _ op: String, _ vector: Json, _ expect: Json) throws {
    let options = try (vector["options"]?.fields ?? [:]).mapValues(option)
    let call = CallOptions(more: options)
    let input = Input(json: vector["input"] ?? .null)
    let run = { () throws -> Json in
        switch op {
        case "answers": try input.answers(models.open(model), call)
        case "answers_within": try input.answersWithin(models.open(model), call)
        case "classify": try input.labels(models.open(model), call)
        case "tag": try input.entities(models.open(model), call)
        case "fill": try input.fills(models.open(model), call)
        case "embed": try input.vectors(models.open(model), call)
        case "states": try input.states(models.open(model), call)
        default: throw Unexpected("the vectors have an operation that this test does not know: \(op)")
        }
    }
    if let error = expect["error"] {
        try same(error, described(fails(run), error), "error")
    } else {
        let name = expect["result"] == nil ? "results" : "result"
        try same(withoutDecimals(expect), .fields([name: run()]), "result")
    }
}

private func option(_ value: Json) throws -> OptionValue {
    switch value {
    case .null: .nothing
    case .flag(let value): .flag(value)
    case .whole(let value): .whole(Int64(value))
    case .number(let value): .number(value)
    case .bytes: .text(value.text ?? "")
    case .list: .texts(value.texts ?? [])
    case .fields: throw Unexpected("an option that is an object: \(value)")
    }
}

/// Leaves out the decimals beside the bits.
private func withoutDecimals(_ value: Json) -> Json {
    switch value {
    case .fields(let fields):
        .fields(fields.filter { $0.key != "decimal" }.mapValues(withoutDecimals))
    case .list(let list): .list(list.map(withoutDecimals))
    default: value
    }
}

/// Calls the function that goes with an input, and writes its result as the vectors do.
private struct Input {
    let json: Json

    private var text: String? { json["text"]?.text }
    private var texts: [String] { json["texts"]?.texts ?? [] }

    func answers(_ qa: BertQuestionAnswerer, _ call: CallOptions) throws -> Json {
        let context = json["context"]?.text
        guard let questions = json["questions"]?.texts else {
            let question = json["question"]?.text ?? ""
            return try written(
                qa.answer(context: context ?? "", question: question, call: call), context ?? "")
        }
        if let context {
            let found = try qa.answerAll(context: context, questions: questions, call: call)
            return try .list(found.map { try written($0, context) })
        }
        let contexts = json["contexts"]?.texts ?? []
        let found = try qa.answerPairs(contexts: contexts, questions: questions, call: call)
        return try .list(zip(found, contexts).map { try written($0, $1) })
    }

    func answersWithin(_ qa: BertQuestionAnswerer, _ call: CallOptions) throws -> Json {
        let (context, question) = (json["context"]?.text ?? "", json["question"]?.text ?? "")
        let found = try qa.answersWithin(
            context: context, question: question, mostWindows: json["most_windows"]?.whole, call: call)
        return try .fields([
            "answers": written(found.answers, context),
            "windows": .whole(found.windows),
            "windows_read": .whole(found.windowsRead),
            "unread": .list(found.unread.map { try place($0.range, $0.utf16, context) }),
        ])
    }

    func labels(_ classifier: NLClassifier, _ call: CallOptions) throws -> Json {
        if let text, let second = json["text_pair"]?.text {
            return try written(classifier.classifyPair(text, second, call: call))
        }
        if let text {
            let found = try written(classifier.classification(text, call: call))
            let alone = try classifier.classify(text, call: call).map { label($0.label, $0.score) }
            try same(found["labels"], .list(alone), "classify")
            return found
        }
        if let seconds = json["text_pairs"]?.texts {
            return try .list(classifier.classifyPairs(texts, seconds, call: call).map(written))
        }
        return try .list(classifier.classifyAll(texts, call: call).map(written))
    }

    func entities(_ tagger: NerTagger, _ call: CallOptions) throws -> Json {
        if let text { return try .list(tagger.tag(text, call: call).map { try written($0, text) }) }
        let found = try tagger.tagAll(texts, call: call)
        return try .list(
            zip(found, texts).map { entities, text in
                try .list(entities.map { try written($0, text) })
            })
    }

    func fills(_ filler: FillMask, _ call: CallOptions) throws -> Json {
        let masks = { (masks: [[FillCandidate]]) in Json.list(masks.map { .list($0.map(written)) }) }
        if let text { return try masks(filler.fill(text, call: call)) }
        return try .list(filler.fillAll(texts, call: call).map(masks))
    }

    func vectors(_ embedder: TextEmbedder, _ call: CallOptions) throws -> Json {
        if let text { return try written(embedder.embed(text, call: call)) }
        return try .list(embedder.embedAll(texts, call: call).map(written))
    }

    func states(_ embedder: TextEmbedder, _ call: CallOptions) throws -> Json {
        if let text { return try written(embedder.tokenStates(text, call: call)) }
        return try .list(embedder.tokenStatesAll(texts, call: call).map(written))
    }
}

private func hex(_ value: Float) -> Json {
    let digits = String(value.bitPattern, radix: 16)
    return .text(String(repeating: "0", count: 8 - digits.count) + digits)
}

private func bits(_ value: Float) -> Json { .fields(["bits": hex(value)]) }

private func bits(_ values: [Float]) -> Json { .fields(["bits": .list(values.map(hex))]) }

private func label(_ label: String, _ score: Float) -> Json {
    .fields(["label": .text(label), "score": bits(score)])
}

/// Writes a place in all units, counted from the indices of the text, and compares UTF-16 with what was
/// given.
private func place(_ range: Range<String.Index>, _ utf16: Range<Int>, _ text: String) throws -> Json {
    let ends = [range.lowerBound, range.upperBound]
    let units = ends.map { text.utf16.distance(from: text.startIndex, to: $0) }
    try same([utf16.lowerBound, utf16.upperBound], units, "UTF-16 units")
    let both = { (count: (Substring) -> Int) in Json.list(ends.map { .whole(count(text[..<$0])) }) }
    return .fields([
        "byte": both(\.utf8.count), "char": both(\.unicodeScalars.count), "utf16": both(\.utf16.count),
    ])
}

private func written(_ answers: [QaAnswer], _ context: String) throws -> Json {
    try .list(
        answers.map { answer in
            try sameText(answer.text, context[answer.range], "the context at the place of the answer")
            return try .fields([
                "answer": .text(answer.text),
                "score": bits(answer.score),
                "place": place(answer.range, answer.utf16, context),
                "others": .list(
                    answer.others.map { other in
                        try .fields([
                            "score": bits(other.score), "place": place(other.range, other.utf16, context),
                        ])
                    }),
            ])
        })
}

private func written(_ found: Classification) -> Json {
    let labels = found.categories.map { label($0.label, $0.score) }
    return .fields(["labels": .list(labels), "truncated": .flag(found.truncated)])
}

private func written(_ entity: NerTagger.Entity, _ text: String) throws -> Json {
    try sameText(entity.word, text[entity.range], "the text at the place of the entity")
    return try .fields([
        "label": .text(entity.label),
        "score": bits(entity.score),
        "grouped": .flag(entity.isGrouped),
        "word": .text(entity.word),
        "place": place(entity.range, entity.utf16, text),
    ])
}

private func written(_ found: FillCandidate) -> Json {
    .fields([
        "sequence": .text(found.sequence), "score": bits(found.score), "token": .whole(found.token),
        "token_str": .text(found.word),
    ])
}

private func written(_ found: Embedding) -> Json {
    .fields(["embedding": bits(found.values), "truncated": .flag(found.truncated)])
}

private func written(_ found: TokenStates) -> Json {
    .fields(["states": .list(found.rows.map(bits)), "truncated": .flag(found.truncated)])
}

/// Writes an error as the vectors do. Of a position, Swift has that in UTF-16 units.
private func described(_ found: MobileBertError, _ expected: Json) throws -> Json {
    try holds(MobileBertError.codes.contains(found.code), "unknown code \(found.code)")
    var all: [String: Json] = ["code": .text(found.code), "message": .text(found.message)]
    all["place"] = found.place.map { .text($0) } ?? .null
    if expected["index"] != nil || found.index != nil { all["index"] = found.index.map(Json.whole) ?? .null }
    if let position = found.position {
        let units = expected["position"]
        try same(units?["utf16"], .whole(position), "position")
        all["position"] = units
    }
    return .fields(all)
}

private func text(_ models: Models, _ input: Json, _ expect: Json) throws {
    let units = (input["utf16"]?.list ?? []).compactMap(\.whole).map { UInt16($0) }
    if let error = expect["error"] {
        try same(error, described(fails { try String(checkedUTF16: units) }, error), "error")
        return
    }
    let text = try String(checkedUTF16: units)
    try sameText(expect["text"]?.text ?? "", text)
    let classifier: NLClassifier = try models.open("models/sentiment")
    try same(classifier.classification(text), classifier.classifyAll([text])[0], "label")
}
