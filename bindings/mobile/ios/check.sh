# Builds the library for Swift and tests it on this machine, as far as no Xcode is needed for it.
#
# It needs Swift 6: that of Xcode on a Mac, Debian 13's package `swiftlang`, or one that SWIFTC names. PROFILE=dev builds
# the library without most of its optimisation, for a quick look.
#
# `./check-bindings swift` reads this file and calls `check_swift`.

# Checks that the property list of a framework names what is there: `check_framework FRAMEWORK`.
check_framework() {
    run "${PYTHON:-python3}" - "$1" << 'END'
import pathlib
import plistlib
import sys

framework = pathlib.Path(sys.argv[1])
found = plistlib.loads((framework / "Info.plist").read_bytes())
assert found["CFBundlePackageType"] == "XFWK" and found["XCFrameworkFormatVersion"] == "1.0", found
for slice in found["AvailableLibraries"]:
    folder = framework / slice["LibraryIdentifier"]
    library, headers = folder / slice["LibraryPath"], folder / slice["HeadersPath"]
    maps = list(headers.glob("*/module.modulemap"))
    assert library.is_file() and slice["BinaryPath"] == slice["LibraryPath"], slice
    assert [path.parent.name for path in maps] == ["MobileBertNativeFFI"], maps
    assert slice["SupportedArchitectures"] == ["arm64"], slice
kinds = {(slice["SupportedPlatform"], slice.get("SupportedPlatformVariant")) for slice in found["AvailableLibraries"]}
assert kinds == {("ios", None), ("ios", "simulator"), ("macos", None)}, kinds
END
}

check_swift() {
    work=$here/target/bindings/swift
    package=bindings/mobile/ios
    swiftc=${SWIFTC:-swiftc}
    mkdir -p "$work"
    if ! "$swiftc" --version > "$work/version" 2>&1; then
        skip swift "swiftc was not found; install Xcode or Debian 13's swiftlang, or name it in SWIFTC"
        return
    fi
    if ! "${PYTHON:-python3}" -c '' 2> /dev/null; then
        skip swift "there is no Python 3; install one, or name it in PYTHON"
        return
    fi
    head -n 1 "$work/version"
    built=$work/built
    objects=$work/objects
    rm -rf "$built" "$objects"
    mkdir -p "$objects"
    run bindings/mobile/build swift "$built"

    # The library of this machine stands for those of Apple's, whose headers are the same.
    for library in "$built"/libmobilebert_mobile.*; do
        run "$package/xcframework.sh" "$work/MobileBertNative.xcframework" "$built/headers" "ios-arm64=$library" \
            "ios-arm64-simulator=$library" "macos-arm64=$library"
    done
    check_framework "$work/MobileBertNative.xcframework"
    passed=1

    # What is generated has warnings of its own.
    headers=$work/MobileBertNative.xcframework/ios-arm64/Headers
    module="-parse-as-library -whole-module-optimization -O -c -I $headers"
    run "$swiftc" $module -swift-version 5 -suppress-warnings -module-name MobileBertNative -emit-module \
        -emit-module-path "$objects/MobileBertNative.swiftmodule" -o "$objects/MobileBertNative.o" \
        "$built/generated/MobileBertNative.swift"
    run "$swiftc" $module -swift-version 6 -warnings-as-errors -enable-testing -module-name MobileBert -emit-module \
        -emit-module-path "$objects/MobileBert.swiftmodule" -I "$objects" -o "$objects/MobileBert.o" \
        "$package"/Sources/MobileBert/*.swift
    # Another module, with types of the same names.
    run "$swiftc" -parse-as-library -swift-version 6 -c -module-name Others -emit-module \
        -emit-module-path "$objects/Others.swiftmodule" -o "$objects/Others.o" "$package/Tests/Names/Others.swift"
    run "$swiftc" -swift-version 6 -warnings-as-errors -O -module-name MobileBertTests -I "$objects" -I "$headers" \
        -o "$work/tests" "$package"/Tests/*.swift "$package/sample/Passage.swift" "$objects"/*.o \
        -L "$built" -lmobilebert_mobile -Xlinker -rpath -Xlinker "$built"
    # This part of the sample imports what only Apple has. Its syntax can be read anywhere.
    run "$swiftc" -frontend -parse "$package/sample/SampleApp.swift"
    passed=$((passed + 1))

    printf '\n== the tests\n'
    status=0
    MOBILEBERT_MODELS=$here/models "$work/tests" "$here" > "$work/tests.log" 2>&1 || status=$?
    cat "$work/tests.log"
    [ "$status" = 0 ] || exit 1
    passed=$((passed + $(sed -n 's/^\([0-9]*\) passed, 0 failed$/\1/p' "$work/tests.log")))

    # The same interface over a static library of a product, as apps have it, with a backend of the product's own.
    profile=${PROFILE:-release}
    run cargo rustc --locked --profile "$profile" -p mobilebert-example-product --lib --crate-type staticlib
    product=${CARGO_TARGET_DIR:-target}/$(printf %s "$profile" | sed 's/^dev$/debug/')/libexample_product.a
    # In a folder of its own the linker finds no shared library of this name.
    mkdir -p "$work/archive"
    cp "$product" "$work/archive/"
    run "$swiftc" -swift-version 6 -warnings-as-errors -module-name Product -I "$objects" -I "$headers" \
        -import-objc-header examples/product/example_product.h -o "$work/product" \
        "$package/Tests/Product/main.swift" \
        "$objects/MobileBert.o" "$objects/MobileBertNative.o" -L "$work/archive" -lexample_product -lm
    run "$work/product" "$here"
    passed=$((passed + 2))

    # The package as another one would use it. On a Mac it needs the framework, which `build ios` makes.
    swift=${SWIFT:-swift}
    if [ "$(uname -s)" = Linux ] && "$swift" package --version > /dev/null 2>&1; then
        rm -rf "$work/package"
        mkdir -p "$work/package"
        cp -R "$package/Package.swift" "$package/Sources" "$built/generated" "$built/linux" "$work/package/"
        run "$swift" build --package-path "$work/package" -Xlinker "-L$built"
        passed=$((passed + 1))
    else
        printf 'SKIPPED: the package is not built, for which swift on Linux is needed\n'
    fi
    printf '\nswift: %s passed\n' "$passed"
}
