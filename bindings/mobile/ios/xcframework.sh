#!/usr/bin/env sh
# Lays out a framework for Xcode of static libraries: `xcframework.sh FRAMEWORK GENERATED SLICE=LIBRARY...`.
#
# GENERATED is the folder of the generated header and its module map. A slice is ios-arm64, ios-arm64-simulator or
# macos-arm64. An XCFramework is a folder of libraries, headers and a property list, so no program of Apple is needed.
set -eu
framework=${1:?"the framework to write"}
generated=${2:?"the folder of the generated header"}
shift 2
module=MobileBertNativeFFI
library=libMobileBertNative.a
[ $# -gt 0 ] || { printf 'expected libraries, such as ios-arm64=FILE\n' >&2; exit 2; }

if [ -e "$framework" ] && ! ls "$framework"/Info.plist* > /dev/null 2>&1 && [ -n "$(ls -A "$framework")" ]; then
    printf '%s is no framework, because it has no Info.plist; name another folder, or remove it\n' "$framework" >&2
    exit 1
fi
rm -rf "$framework"
mkdir -p "$framework"
{
    printf '<?xml version="1.0" encoding="UTF-8"?>\n'
    printf '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
    printf '<plist version="1.0">\n<dict>\n\t<key>AvailableLibraries</key>\n\t<array>\n'
    for slice; do
        file=${slice#*=}
        slice=${slice%%=*}
        variant=
        case $slice in
            ios-arm64) platform=ios ;;
            ios-arm64-simulator) platform=ios variant=simulator ;;
            macos-arm64) platform=macos ;;
            *)
                printf 'unknown slice %s; expected ios-arm64, ios-arm64-simulator or macos-arm64\n' "$slice" >&2
                exit 2
                ;;
        esac
        # In a folder of the module's name, the map is not taken for that of another framework.
        headers=$framework/$slice/Headers/$module
        mkdir -p "$headers"
        cp "$file" "$framework/$slice/$library"
        cp "$generated/$module.h" "$headers/"
        cp "$generated/$module.modulemap" "$headers/module.modulemap"
        printf '\t\t<dict>\n'
        printf '\t\t\t<key>%s</key>\n\t\t\t<string>%s</string>\n' \
            BinaryPath "$library" HeadersPath Headers LibraryIdentifier "$slice" LibraryPath "$library"
        printf '\t\t\t<key>SupportedArchitectures</key>\n\t\t\t<array>\n\t\t\t\t<string>arm64</string>\n\t\t\t</array>\n'
        printf '\t\t\t<key>SupportedPlatform</key>\n\t\t\t<string>%s</string>\n' "$platform"
        [ -z "$variant" ] ||
            printf '\t\t\t<key>SupportedPlatformVariant</key>\n\t\t\t<string>%s</string>\n' "$variant"
        printf '\t\t</dict>\n'
    done
    printf '\t</array>\n\t<key>CFBundlePackageType</key>\n\t<string>XFWK</string>\n'
    printf '\t<key>XCFrameworkFormatVersion</key>\n\t<string>1.0</string>\n</dict>\n</plist>\n'
} > "$framework/Info.plist.part"
mv "$framework/Info.plist.part" "$framework/Info.plist"
