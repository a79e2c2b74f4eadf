import Foundation
internal import MobileBertNative

/// The place to find a model. Nothing is read before a task is opened, and a source may open any number of
/// them.
public struct ModelSource: Sendable {
    private let make: @Sendable () throws -> MobileBertNative.ModelSource

    /// Names a model: `qa`, `sentiment`, `ner` or `embed`, the path of a model folder, or the id of a model in the
    /// local Hugging Face cache. A built-in name is looked for in the folders that the environment variable
    /// `MOBILEBERT_MODELS` lists.
    public static func named(_ name: String) -> ModelSource {
        ModelSource { try .named(name: bounded("model", name)) }
    }

    /// Names a model folder, which holds `config.json`, the vocabulary and the weights.
    public static func folder(_ folder: URL) -> ModelSource {
        ModelSource { .folder(path: try bounded("path", folder.path)) }
    }

    /// Names a model folder among the resources of a bundle. In Xcode it is a blue folder, which is copied as
    /// it is.
    public static func resource(_ name: String, in bundle: Bundle = .main) -> ModelSource {
        // `Bundle` is not Sendable, so the folder is looked up here.
        let found = bundle.url(forResource: name, withExtension: nil)
        let place = bundle.bundlePath
        return ModelSource {
            guard let found else {
                let problem =
                    "there is no folder `\(name)` among the resources of \(place); add it to the target"
                throw MobileBertError("unknown_model", problem, place: name)
            }
            return .folder(path: try bounded("path", found.path))
        }
    }

    /// Takes the files of a model that is not in a folder, under the names that they would have in one. Error
    /// messages call it by `label`.
    public static func files(_ files: [String: ModelFile], label: String = "model in memory") -> ModelSource {
        ModelSource {
            let source = MobileBertNative.ModelSource.files(label: try bounded("label", label))
            for (name, file) in files.sorted(by: { $0.key < $1.key }) {
                try file.add(to: source, as: bounded("file", name))
            }
            return source
        }
    }

    /// Uses the native source.
    func open<Result>(_ use: (MobileBertNative.ModelSource) throws -> Result) throws -> Result {
        try native { try use(make()) }
    }

    /// Opens the native object of a task.
    func opened<Native>(
        _ options: some TaskOptions,
        _ open: (MobileBertNative.ModelSource, Loading, [NamedOption]) throws -> Native
    ) throws -> Native {
        let named = try namedOptions(options.byName)
        let loading = try options.model.loading()
        return try self.open { try open($0, loading, named) }
    }
}

/// A file of a model that is not in a folder.
public enum ModelFile: Sendable {
    /// Bytes, of which a copy is made while a task opens, and released when it has.
    case bytes(Data)

    /// A part of an open file, which is mapped and not copied. The descriptor has to be open until a task has
    /// been opened, and stays the caller's to close. The file must not be made shorter or written to as long
    /// as a model is opened from it or open: the system ends a process that reads what is gone.
    ///
    /// Opening fails with the code `io` if the descriptor is not open or the file ends before the range does,
    /// and with `input` if the offset or the length is negative.
    case range(descriptor: Int32, offset: Int64, length: Int64)

    fileprivate func add(to source: MobileBertNative.ModelSource, as name: String) throws {
        switch self {
        case .bytes(let bytes):
            guard bytes.count <= mostBytes else {
                let problem =
                    "\(name): \(bytes.count) bytes; expected at most \(mostBytes), or a folder or range"
                throw MobileBertError("input", problem, place: name)
            }
            try source.addBytes(name: name, bytes: bytes)
        case .range(let descriptor, let offset, let length):
            try source.addRange(name: name, descriptor: descriptor, offset: offset, length: length)
        }
    }
}
