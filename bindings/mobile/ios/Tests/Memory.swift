import Foundation
import MobileBert

private let mebibyte = 1 << 20

func memory(_ suite: Suite) {
    guard resident() != nil else {
        suite.test("memory can be measured") {
            let isRequired = ProcessInfo.processInfo.environment["CI"] == "true"
            try holds(!isRequired, "this system has no /proc/self/statm")
            print("SKIPPED: this system does not say how much memory a process has; memory is not tested")
        }
        return
    }
    suite.test("10,000 opens and closes do not grow the memory") {
        let one = NerTaggerOptions(model: .init(threads: 1))
        func open(_ count: Int) throws {
            for number in 0..<count {
                let tagger = try NerTagger(folder: nerFolder, options: one)
                if number % 100 == 0 { _ = try tagger.tag("Ada lives in London") }
            }
        }
        try open(2000)
        let before = resident() ?? 0
        try open(10_000)
        let growth = (resident() ?? 0) - before
        print("10,000 opens and closes: \(growth / 1024) kB more")
        // The tensors alone are 18 kB for each model, so that a tenth of them would show.
        try holds(growth < 16 * mebibyte, "the resident memory grew by \(growth / mebibyte) MiB")
    }
    suite.test("calls and errors do not grow the memory") {
        let tagger = try NerTagger(folder: nerFolder, options: .init(model: .init(threads: 1)))
        let text = String(repeating: "Ada lives in London. ", count: 20)
        func call(_ count: Int) throws {
            for _ in 0..<count {
                let cancellation = Cancellation()
                _ = try tagger.tag(text, call: .init(cancellation: cancellation))
                cancellation.cancel()
                _ = try fails { try tagger.tag(text, call: .init(cancellation: cancellation)) }
            }
        }
        try call(500)
        let before = resident() ?? 0
        try call(3000)
        let growth = (resident() ?? 0) - before
        print("6,000 calls: \(growth / 1024) kB more")
        try holds(growth < mebibyte / 4, "the resident memory grew by \(growth / 1024) kB")
    }
    suite.test("pools of threads end with their task") {
        func threads() -> Int {
            (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count) ?? 0
        }
        let two = NerTaggerOptions(model: .init(threads: 2))
        let before = threads()
        for _ in 0..<200 { _ = try NerTagger(folder: nerFolder, options: two).tag("Ada") }
        Thread.sleep(forTimeInterval: 0.1)
        try holds(threads() < before + 20, "\(before) threads became \(threads())")
    }
}
