import MobileBert
import SwiftUI

/// Asks a question about a text and marks the answer in it.
@main
struct SampleApp: App {
    var body: some Scene {
        WindowGroup { AskView() }
    }
}

struct AskView: View {
    @State private var text = Passage.harbour.text
    @State private var question = "Who built the lamp?"
    @State private var passage = Passage.harbour
    @State private var qa: BertQuestionAnswerer?
    @State private var problem: String?
    @State private var asking: Task<Void, Never>?

    var body: some View {
        Form {
            Section("Question") {
                TextField("Question", text: $question)
                Button("Ask", action: ask).disabled(qa == nil)
                Text(problem ?? (qa == nil ? "The model is being opened." : passage.status))
            }
            Section("Answer") { Text(marked) }
            Section("Text") { TextEditor(text: $text).frame(minHeight: 160) }
        }
        .task { await open() }
    }

    /// The text with the answer marked.
    private var marked: AttributedString {
        let parts = passage.parts
        var answer = AttributedString(parts.answer)
        answer.backgroundColor = .yellow
        return AttributedString(parts.before) + answer + AttributedString(parts.after)
    }

    private func open() async {
        do {
            // The folder `qa` of the app's resources.
            qa = try await BertQuestionAnswerer.open(.resource("qa"))
        } catch {
            problem = error.localizedDescription
        }
    }

    private func ask() {
        guard let qa else { return }
        // A question that is still being answered ends before its next pass.
        asking?.cancel()
        asking = Task {
            let answered = await Passage(text).asked(question, qa)
            if !Task.isCancelled { passage = answered }
        }
    }
}
