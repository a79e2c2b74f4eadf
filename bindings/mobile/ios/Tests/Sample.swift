import MobileBert

/// Tests the part of the sample app that needs no screen.
func sample(_ suite: Suite) async {
    await suite.test("the sample finds and marks an answer") {
        let qa = try await BertQuestionAnswerer.open(.folder(qaFolder))
        let passage = await Passage.harbour.asked("Who built the lamp?", qa)
        try sameText("Zoë Müller", passage.parts.answer)
        try sameText(passage.text, passage.parts.before + passage.parts.answer + passage.parts.after)
        try holds(
            passage.status.hasPrefix("Zoë Müller (0.") && passage.status.hasSuffix(" ms"), passage.status)
        let failed = await Passage.harbour.asked(" ", qa)
        try holds(failed.answer == nil && failed.status.contains("the question is empty"), failed.status)
        try sameText(failed.text, failed.parts.before)
    }
}
