// swift-tools-version: 6.0
import PackageDescription

// `../build ios` writes the framework and the generated Swift. On Linux `../build swift .` writes the header
// and the generated Swift, and the linker is told where the library is: `swift build -Xlinker -LFOLDER`.
#if os(Linux)
    let library = Target.systemLibrary(name: "MobileBertNativeFFI", path: "linux")
#else
    let library = Target.binaryTarget(name: "MobileBertNativeFFI", path: "MobileBertNative.xcframework")
#endif

let package = Package(
    name: "MobileBert",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "MobileBert", targets: ["MobileBert"])],
    targets: [
        library,
        // Generated, and no part of the interface.
        .target(
            name: "MobileBertNative",
            dependencies: ["MobileBertNativeFFI"],
            path: "generated",
            swiftSettings: [.swiftLanguageMode(.v5)]),
        .target(name: "MobileBert", dependencies: ["MobileBertNative"]),
    ]
)
