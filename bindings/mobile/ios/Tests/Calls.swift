import Dispatch
import Foundation

@testable import MobileBert

private let context = "😀 Café «Zoë»\r\n東京で。 The lamp\u{0} was built by Zoë Müller in 1880, 𠮷."
private let question = "Who built the lamp?"

/// A context of so many windows that no call ends by itself before it is stopped.
private let long =
    String(repeating: "The harbour was quiet that year, and nothing was written down. ", count: 8000)
    + context

func calls(_ suite: Suite) async throws {
    let qa = try BertQuestionAnswerer(folder: qaFolder)
    options(suite, qa)
    suite.test("ranges are those of the text") {
        let answer = try qa.answer(context: context, question: question)[0]
        try sameText("Zoë Müller", answer.text)
        try sameText(answer.text, context[answer.range])
        let units = Array(context.utf16)[answer.utf16]
        try sameText(answer.text, String(decoding: units, as: UTF16.self))
        let range = NSRange(answer.range, in: context)
        try same(NSRange(location: answer.utf16.lowerBound, length: answer.utf16.count), range, "range")
    }
    suite.test("eight threads share one object") {
        let expected = try qa.answer(context: context, question: question)
        let one = try BertQuestionAnswerer(folder: qaFolder, options: .init(model: .init(threads: 1)))
        let found = Collected<[QaAnswer]>()
        DispatchQueue.concurrentPerform(iterations: 8) { number in
            for _ in 0..<10 {
                found.add { try (number % 2 == 0 ? qa : one).answer(context: context, question: question) }
            }
        }
        let all = try found.all()
        try same(80, all.count, "calls")
        try same([expected], Array(Set(all)), "answers")
    }
    await suite.test("tasks share one object") {
        let expected = try await qa.answer(context: context, question: question)
        let found = try await withThrowingTaskGroup(of: [QaAnswer].self) { group in
            for _ in 0..<8 {
                group.addTask { try await qa.answer(context: context, question: question) }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        try same([expected], Array(found), "answers")
    }
    await suite.test("calls in the background give what the others give") {
        try await background(qa)
    }
    await ending(suite, qa)
    try sharing(suite)
    suite.test("results and texts that cannot cross the border are refused before anything is computed") {
        let embedder = try TextEmbedder(folder: root.appendingPathComponent("models/embed"))
        let count = Int(Int32.max) / (4 * embedder.dimensions) + 1
        let soon = CallOptions(timeout: .seconds(5))
        let failure = try fails { try embedder.embedAll(Array(repeating: "a", count: count), call: soon) }
        try same(["input", "texts"], [failure.code, failure.place ?? ""])
        // These texts are one piece of memory.
        let megabyte = String(repeating: "a", count: 1 << 20)
        let large = try fails { try embedder.embedAll(Array(repeating: megabyte, count: 2048), call: soon) }
        try same(["input", "text"], [large.code, large.place ?? ""])
        let option = CallOptions(more: ["labels": .texts(Array(repeating: megabyte, count: 2048))])
        try same("input", fails { try embedder.embed("a", call: option) }.code)
    }
}

/// What several threads return or throw.
private final class Collected<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var results: [Result<Value, any Error>] = []

    func add(_ call: () throws -> Value) {
        let result = Result { try call() }
        lock.withLock { results.append(result) }
    }

    func all() throws -> [Value] { try lock.withLock { try results.map { try $0.get() } } }
}

private func options(_ suite: Suite, _ qa: BertQuestionAnswerer) {
    suite.test("options of opening and of a call") {
        let options = BertQuestionAnswererOptions(
            topK: 2, maxLength: 128, docStride: 32, maxQuestionLength: 32, maxAnswerLength: 8,
            handleImpossibleAnswer: true, model: .init(threads: 1, precision: .int8))
        let two = try BertQuestionAnswerer(folder: qaFolder, options: options)
        try same(2, two.answer(context: context, question: question).count, "answers")
        try same(1, two.answer(context: context, question: question, call: .init(topK: 1)).count, "answers")
        try same(1, two.info.threads, "threads")
        try same("int8", two.info.precision, "precision")
        let wrong = BertQuestionAnswererOptions(model: .init(threads: -1))
        let failure = try fails { try BertQuestionAnswerer(folder: qaFolder, options: wrong) }
        try same(["option", "threads"], [failure.code, failure.place ?? ""])
        let ours = BertQuestionAnswererOptions(model: .init(delegate: .native))
        try same(
            1,
            BertQuestionAnswerer(folder: qaFolder, options: ours).answer(context: context, question: question)
                .count)
        let other = BertQuestionAnswererOptions(model: .init(delegate: .named("nnapi")))
        let missing = try fails { try BertQuestionAnswerer(folder: qaFolder, options: other) }
        try same(["option", "backend"], [missing.code, missing.place ?? ""])
        let odd = CallOptions(more: ["topk": 1])
        let unknown = try fails { try qa.answer(context: context, question: question, call: odd) }
        try same(["unknown_option", "topk"], [unknown.code, unknown.place ?? ""])
        try same(unknown.message, (unknown as any Error).localizedDescription, "description")
    }
    suite.test("every option has the name that the engine knows") {
        let folder = root.appendingPathComponent("bindings/vectors/models/ner")
        let tagger = NerTaggerOptions(aggregation: .average, ignoredLabels: [], maxLength: 16, docStride: 4)
        try holds(
            !NerTagger(folder: folder, options: tagger).tag("Ada lives in London").isEmpty, "no entities")
        let pooled = TextEmbedderOptions(pooling: .meanSqrtLen, l2Normalize: false, maxLength: 16)
        try holds(!TextEmbedder(folder: folder, options: pooled).embed("Ada").values.isEmpty, "no vector")
        let classifier = ClassifierOptions(
            topK: .all, threshold: 0, labels: ["positive"], longText: .windowsMean, maxLength: 64,
            docStride: 8)
        let sentiment = root.appendingPathComponent("models/sentiment")
        try same(1, NLClassifier(folder: sentiment, options: classifier).classify("fine").count, "labels")
        try same(2, NLClassifier(folder: sentiment).classify("fine", call: .init(topK: .all)).count, "labels")
        let filler = try FillMask(
            folder: root.appendingPathComponent("bindings/vectors/models/mlm"), options: .init(topK: 2))
        try same([2], filler.fill("a \(filler.maskToken)").map(\.count), "words")
        let all = BertQuestionAnswererOptions(topK: 1, more: ["top_k": 3]).byName
        try same(.whole(3), all["top_k"], "the option by its name")
    }
    suite.test("numbers that are not finite are refused and do not mean the default") {
        for number in [Double.nan, .infinity, -.infinity] {
            let call = CallOptions(more: ["top_k": .number(number)])
            let failure = try fails { try qa.answer(context: context, question: question, call: call) }
            try same(["option", "top_k"], [failure.code, failure.place ?? ""])
        }
    }
    suite.test("times are rounded to whole milliseconds, away from zero") {
        for (time, millis) in [
            (Duration.microseconds(500), 1), (.nanoseconds(1), 1), (.microseconds(1001), 2),
            (.microseconds(2000), 2), (.zero, 0), (.nanoseconds(-1), -1), (.seconds(3), 3000),
            (.seconds(Int64.max), Int64.max), (.seconds(Int64.min), Int64.min), (.seconds(1.5), 1500),
        ] {
            try same(millis, time.wholeMilliseconds, "\(time)")
        }
    }
}

private func background(_ qa: BertQuestionAnswerer) async throws {
    let one = try await qa.answer(context: context, question: question)
    try await same([one, one], qa.answerAll(context: context, questions: [question, question]))
    try await same([one], qa.answerPairs(contexts: [context], questions: [question]))
    let sentiment = ModelSource.folder(root.appendingPathComponent("models/sentiment"))
    let classifier = try await NLClassifier.open(sentiment, options: .init(topK: .all))
    let labels = try await classifier.classification("fine")
    try same(2, labels.categories.count)
    try await same(labels.categories, classifier.classify("fine"))
    try await same([labels], classifier.classifyAll(["fine"]))
    let pair = try await classifier.classifyPair("fine", "bad")
    try await same([pair], classifier.classifyPairs(["fine"], ["bad"]))
    let tagger = try await NerTagger.open(.folder(nerFolder))
    let entities = try await tagger.tag("Ada lives in London")
    try await same([entities], tagger.tagAll(["Ada lives in London"]))
    let filler = try await FillMask.open(.folder(root.appendingPathComponent("bindings/vectors/models/mlm")))
    let text = "a \(filler.maskToken)"
    let words = try await filler.fill(text)
    try await same([words], filler.fillAll([text]))
    let embedder = try await TextEmbedder.open(.folder(nerFolder))
    let vector = try await embedder.embed("Ada")
    try await same([vector], embedder.embedAll(["Ada"]))
    let states = try await embedder.tokenStates("Ada")
    try await same([states], embedder.tokenStatesAll(["Ada"]))
}

private func ending(_ suite: Suite, _ qa: BertQuestionAnswerer) async {
    suite.test("a call is cancelled from another thread") {
        let cancellation = Cancellation()
        DispatchQueue.global().asyncAfter(deadline: .now() + 0.1) { cancellation.cancel() }
        let call = CallOptions(cancellation: cancellation)
        try same("cancelled", fails { try qa.answer(context: long, question: question, call: call) }.code)
        try same(true, cancellation.isCancelled)
        // One that is cancelled before does not begin.
        try same("cancelled", fails { try qa.answer(context: context, question: question, call: call) }.code)
        try sameText("Zoë Müller", qa.answer(context: context, question: question)[0].text)
    }
    suite.test("a call ends at its time") {
        let code = { (context: String, timeout: Duration) in
            try fails { try qa.answer(context: context, question: question, call: .init(timeout: timeout)) }
                .code
        }
        try same("deadline_exceeded", code(long, .milliseconds(100)))
        try same("deadline_exceeded", code(context, .zero))
        try same("option", code(context, .seconds(-1)))
        // One pass is enough for this context, but it takes long to tokenise.
        let wide = String(repeating: " ", count: 2_000_000) + context
        try same("deadline_exceeded", code(wide, .milliseconds(1)))
        let enough = CallOptions(timeout: .seconds(3600))
        try sameText("Zoë Müller", qa.answer(context: context, question: question, call: enough)[0].text)
    }
    await suite.test("a search ends at its time with what it has found") {
        // The shortest time in which a busy machine finishes the first pass is far too short for all of them.
        var time = Duration.milliseconds(20)
        var found: AnswersWithin?
        while found == nil {
            do {
                found = try await qa.answersWithin(
                    context: long, question: question, call: .init(timeout: time))
            } catch let late as MobileBertError {
                try same("deadline_exceeded", late.code)
                time *= 2
            }
        }
        guard let part = found else { throw Unexpected("no result") }
        try holds(part.windowsRead > 0 && part.windowsRead < part.windows, "\(part)")
        let again = try await qa.answersWithin(
            context: long, question: question, mostWindows: part.windowsRead)
        try same(part, again, "the search with as many windows")
        for most in [0, -1] {
            let failure = try fails {
                try qa.answersWithin(context: context, question: question, mostWindows: most)
            }
            try same(["option", "most_windows"], [failure.code, failure.place ?? ""])
        }
    }
    await suite.test("a task that is cancelled ends its call, as tasks end") {
        let task = Task { try await qa.answer(context: long, question: question) }
        try await Task.sleep(for: .milliseconds(100))
        task.cancel()
        let result = await task.result
        do {
            throw try Unexpected("expected an error, found \(result.get())")
        } catch is CancellationError {}
        let early = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await qa.answer(context: context, question: question)
        }
        do {
            throw try await Unexpected("expected an error, found \(early.value)")
        } catch is CancellationError {}
    }
    await suite.test("errors of calls in the background are those of the others") {
        try await same("empty_text", failsLater { try await qa.answer(context: context, question: " ") }.code)
        let late = CallOptions(timeout: .milliseconds(100))
        let failure = try await failsLater {
            try await qa.answer(context: long, question: question, call: late)
        }
        try same("deadline_exceeded", failure.code)
        let cancellation = Cancellation()
        cancellation.cancel()
        let call = CallOptions(cancellation: cancellation)
        // The task is not cancelled, so the error is that of the call.
        try await same(
            "cancelled",
            failsLater { try await qa.answer(context: long, question: question, call: call) }.code)
    }
}

private func sharing(_ suite: Suite) throws {
    suite.test("tasks share a loaded model") {
        var model: BertModel? = try BertModel(source: .folder(qaFolder), options: .init(threads: 1))
        try same("question-answering", model?.info.task)
        let shared = try BertQuestionAnswerer(model: model!)
        let embedder = try TextEmbedder(model: model!)
        try same("wrong_task", fails { try NLClassifier(model: model!) }.code)
        model = nil
        try sameText("Zoë Müller", shared.answer(context: context, question: question)[0].text)
        try same(embedder.dimensions, embedder.embed("text").values.count)
    }
    suite.test("similar texts have similar vectors") {
        let embedder = try TextEmbedder(folder: root.appendingPathComponent("models/embed"))
        let found = try embedder.embedAll(["a cat", "a kitten", "an income tax form"])
        let (near, far) = try (
            found[0].cosineSimilarity(to: found[1]), found[0].cosineSimilarity(to: found[2])
        )
        try holds(near > 0.6 && far < 0.3, "near \(near), far \(far)")
        let other = try TextEmbedder(folder: nerFolder).embed("a cat")
        try same("input", fails { try found[0].cosineSimilarity(to: other) }.code)
    }
}
