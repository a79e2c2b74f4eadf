import Foundation
import MobileBert

// A program with the static library of a product that brings a backend of its own, `examples/product`. The two
// functions of that library come from its C header.

struct Unexpected: Error {
    let problem: String
}

func check(_ condition: Bool, _ problem: @autoclosure () -> String) throws {
    if !condition { throw Unexpected(problem: problem()) }
}

let folder = URL(fileURLWithPath: CommandLine.arguments[1]).appendingPathComponent("models/qa")
let question = "Who built it?"

func open(_ delegate: ModelOptions.Delegate) throws -> BertQuestionAnswerer {
    let options = BertQuestionAnswererOptions(model: ModelOptions(delegate: delegate))
    return try BertQuestionAnswerer(folder: folder, options: options)
}

func choosesTheBackend() throws {
    do {
        _ = try open(.named("timed"))
        throw Unexpected(problem: "a backend that nobody has registered was found")
    } catch let failure as MobileBertError {
        try check(failure.code == "option" && failure.place == "backend", "\(failure)")
    }
    try check(example_register_backends() && !example_register_backends(), "registered not once")
    let context = "It was built by Ada."
    let expected = try open(.native).answer(context: context, question: question)
    try check(example_passes() == 0, "the engine's own backend was not used")
    let found = try open(.named("timed")).answer(context: context, question: question)
    try check(found == expected && found[0].text == "Ada", "found \(found)")
    try check(example_passes() == 1, "the product's backend made \(example_passes()) passes")
}

func endsWithItsTask() async throws {
    let qa = try open(.named("timed"))
    let context = String(repeating: "The harbour was quiet that year. ", count: 20_000)
    let part = try await qa.answersWithin(context: context, question: question, mostWindows: 1)
    let before = example_passes()
    let task = Task { try await qa.answer(context: context, question: question) }
    while example_passes() == before { try await Task.sleep(for: .milliseconds(1)) }
    task.cancel()
    _ = await task.result
    // No pass has more than one window of this context, and the call ends before its next pass.
    let made = Int(example_passes() - before)
    try check(part.windows > 400 && made < part.windows / 2, "\(made) passes of \(part.windows)")
}

try choosesTheBackend()
try await endsWithItsTask()
print("2 passed, 0 failed")
