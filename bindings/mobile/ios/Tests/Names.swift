import MobileBert
import Others

private struct Theirs: Delegate {}

/// Compiles only if names that other modules have as well can be told apart.
func names(_ suite: Suite) {
    suite.test("names of other modules can be told apart") {
        let delegate: any Delegate = Theirs()
        try holds(delegate is Theirs, "another delegate")
        try same("others", Entity().owner)
        try same("others", Others.CallOptions().owner)
        let options = ModelOptions(delegate: .named("mine"))
        try same(ModelOptions.Delegate.named("mine"), options.delegate)
        let call = MobileBert.CallOptions(topK: 1)
        let entities: [NerTagger.Entity] = try NerTagger(folder: nerFolder).tag("Ada", call: MobileBert.CallOptions())
        try same(nil, call.timeout)
        try same(entities, NerTagger(folder: nerFolder).tag("Ada"))
    }
}
