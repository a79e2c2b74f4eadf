import Foundation
import MobileBert

// The part of the sample that needs no screen.

/// A text with the answer that was found in it.
struct Passage: Sendable {
    let text: String
    private(set) var answer: QaAnswer?
    private(set) var status = ""

    init(_ text: String) { self.text = text }

    /// The text in front of the answer, the answer, and the text behind it.
    var parts: (before: Substring, answer: Substring, after: Substring) {
        let range = answer?.range ?? text.endIndex..<text.endIndex
        return (text[..<range.lowerBound], text[range], text[range.upperBound...])
    }

    /// Asks a question about the text, and says how long the answer took.
    func asked(_ question: String, _ qa: BertQuestionAnswerer) async -> Passage {
        var passage = Passage(text)
        do {
            let clock = ContinuousClock()
            let start = clock.now
            let answers = try await qa.answer(context: text, question: question)
            let took = start.duration(to: clock.now) / .milliseconds(1)
            passage.answer = answers.first
            passage.status =
                answers.first.map {
                    "\($0.text) (\(String(format: "%.2f", $0.score))), \(String(format: "%.0f", took)) ms"
                } ?? "no answer"
        } catch let error as MobileBertError {
            passage.status = error.message
        } catch {
            // The screen has gone, or another question came.
            passage.status = ""
        }
        return passage
    }

    static let harbour = Passage(
        "The lamp in the harbour was built by Zoë Müller in 1880. "
            + "Before that, ships had to wait for the morning.")
}
