import Foundation
import MobileBert

/// What a test found wrong.
struct Unexpected: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Runs tests one by one, counts those that pass and shows those that fail. A second argument of the program
/// leaves out those whose names do not contain it.
final class Suite {
    private let only: String?
    private var passed = 0
    private var failed: [String] = []

    init(only: String?) { self.only = only }

    func test(_ name: String, _ body: () throws -> Void) {
        guard starts(name) else { return }
        let start = Date()
        do {
            try body()
            ended(name, start, nil)
        } catch {
            ended(name, start, error)
        }
    }

    func test(_ name: String, _ body: () async throws -> Void) async {
        guard starts(name) else { return }
        let start = Date()
        do {
            try await body()
            ended(name, start, nil)
        } catch {
            ended(name, start, error)
        }
    }

    private func starts(_ name: String) -> Bool { only.map(name.contains) ?? true }

    private func ended(_ name: String, _ start: Date, _ problem: (any Error)?) {
        if let problem {
            failed.append(name)
            print("FAILED \(name): \(problem)")
        } else {
            passed += 1
        }
        let seconds = Date().timeIntervalSince(start)
        if seconds > 1 { print("\(name): \(Int(seconds * 1000)) ms") }
    }

    /// Prints the result and returns the exit code.
    func finish() -> Int32 {
        if !failed.isEmpty { print("failed: \(failed.joined(separator: ", "))") }
        print("\(passed) passed, \(failed.count) failed")
        return failed.isEmpty && passed > 0 ? 0 : 1
    }
}

/// Runs all tests, and returns the exit code.
func run() async throws -> Int32 {
    let suite = Suite(only: CommandLine.arguments.dropFirst(2).first)
    try vectors(suite)
    try sources(suite)
    try await calls(suite)
    await sample(suite)
    names(suite)
    memory(suite)
    return suite.finish()
}

func same<Value: Equatable>(_ expected: Value, _ found: Value, _ what: String = "value") throws {
    guard expected == found else { throw Unexpected("\(what): expected \(expected), found \(found)") }
}

/// Compares texts by their bytes. For `==` an `é` of one code point and one of two are the same.
func sameText(_ expected: some StringProtocol, _ found: some StringProtocol, _ what: String = "text") throws {
    try same(Array(expected.utf8), Array(found.utf8), "\(what), bytes of `\(expected)` and `\(found)`")
}

func holds(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    guard condition else { throw Unexpected(what()) }
}

/// Returns the error that a call throws.
func fails(_ run: () throws -> Any) throws -> MobileBertError {
    let found: Any
    do {
        found = try run()
    } catch let error as MobileBertError {
        return error
    }
    throw Unexpected("expected an error, found \(found)")
}

/// Returns the error that an `async` call throws.
func failsLater(_ run: () async throws -> Any) async throws -> MobileBertError {
    let found: Any
    do {
        found = try await run()
    } catch let error as MobileBertError {
        return error
    }
    throw Unexpected("expected an error, found \(found)")
}

/// The root of the checkout.
let root = URL(fileURLWithPath: CommandLine.arguments.dropFirst().first ?? ".")

/// The model that answers questions.
let qaFolder = root.appendingPathComponent("models/qa")

/// A tagger of 18 kB.
let nerFolder = root.appendingPathComponent("bindings/vectors/models/ner")

/// The resident memory of this process in bytes, or `nil` where the system has no such file.
func resident() -> Int? {
    guard let file = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return nil }
    return file.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 4096 }
}
