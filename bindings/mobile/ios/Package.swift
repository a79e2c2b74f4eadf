// swift-tools-version: 6.0
import PackageDescription

// From the root of the repository, `bindings/mobile/build ios` writes the framework and the generated Swift.
// On Linux, `bindings/mobile/build swift bindings/mobile/ios` writes the header, the generated Swift and the
// library, and the linker is told where that is: `swift build -Xlinker -LFOLDER`.
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
