# Builds the library for Kotlin and Java and tests it on a Java machine, as far as no Android is needed for it.
#
# PROFILE=dev builds the library without most of its optimisation, for a quick look.
#
# `./check-bindings jvm` and `jvm-android` read this file and call its functions. Android's own classes are replaced by
# the stand-ins of jvm-tests/android-stubs.

kotlin_version=2.4.20
# The SHA-512 of its package, which the index of packages gives in base 64 as `dist.integrity`.
kotlin_sum=205e4854cecba4f840fe7b47410a5a56dd72c6969a428bed11560bcaa58cb9a2\
ebd177a52cf3e6effb0ce872e1b5c4638e3a12b0aec8ee53f693360990ccbbdf

# Says whether Debian packages can be installed here, and installs those that are named.
install_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
    run apt-get -qq update && run apt-get -qq install -y --no-install-recommends "$@" > /dev/null
}

# Prints the major version of a Java program, or 0.
java_version() {
    "$1" -version 2>&1 | sed -n 's/^[a-z]* \(version "\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1 | grep . || printf '0\n'
}

has_java() {
    command -v java > /dev/null && command -v javac > /dev/null && [ "$(java_version javac)" -ge 17 ]
}

# Prints the SHA-512 of a file.
sha512() {
    if command -v sha512sum > /dev/null; then sha512sum "$1"; else shasum -a 512 "$1"; fi | cut -d ' ' -f 1
}

# Prints how long the step took that has just ended.
step_took() {
    now=$(date +%s)
    printf '== %s: %s s\n' "$1" "$((now - step_began))"
    step_began=$now
}

check_jvm() {
    work=$here/target/bindings/jvm
    sources=bindings/mobile
    mkdir -p "$work"
    step_began=$(date +%s)
    has_java || install_debian openjdk-17-jdk-headless || true
    # An older one may still come first on the path.
    if ! has_java; then
        skip jvm "java and javac of version 17 or later were not found; install a JDK, and put it first on the path"
        return
    fi
    if ! "${PYTHON:-python3}" -c '' 2> /dev/null; then
        skip jvm "there is no Python 3; install one, or name it in PYTHON"
        return
    fi
    jna=${JNA_JAR:-/usr/share/java/jna.jar}
    if [ ! -f "$jna" ] && ! install_debian libjna-java libjna-jni; then
        skip jvm "$jna is missing; install JNA 5.12 or later (Debian: libjna-java libjna-jni), or name its jar in JNA_JAR"
        return
    fi
    kotlin=${KOTLIN_COMPILER:-$work/kotlin-$kotlin_version/package}
    if [ ! -f "$kotlin/lib/kotlin-compiler.jar" ]; then
        rm -rf "$work/kotlin-$kotlin_version"
        mkdir -p "$work/kotlin-$kotlin_version"
        package=$work/kotlin-$kotlin_version/kotlin-compiler-$kotlin_version.tgz
        if ! (cd "$work/kotlin-$kotlin_version" && run npm pack --silent "kotlin-compiler@$kotlin_version") ||
            [ ! -f "$package" ]; then
            skip jvm "npm cannot fetch kotlin-compiler $kotlin_version; see above, or name its folder in KOTLIN_COMPILER"
            return
        fi
        found=$(sha512 "$package")
        if [ "$found" != "$kotlin_sum" ]; then
            printf 'the SHA-512 of %s is\n%s; expected\n%s\n' "$package" "$found" "$kotlin_sum" >&2
            exit 1
        fi
        run tar -xzf "$package" -C "$work/kotlin-$kotlin_version"
        rm "$package"
    fi
    step_took "tools"

    api=$sources/android/mobilebert/src/main/kotlin
    if grep -rlE 'android[.]|androidx[.]' "$api" --include '*.kt' | grep -v /io/mobilebert/android/; then
        printf 'these files use classes of Android; only those in io/mobilebert/android may\n' >&2
        exit 1
    fi
    run "${PYTHON:-python3}" "$sources/gradle.py"
    rm -rf "$work/built" "$work/classes"
    run env JNA_JAR="$jna" KOTLIN_COMPILER="$kotlin" "$sources/build" test "$work/built"
    step_took "library, generator and Kotlin interface"
    run sh "$sources/pages.sh" "$work/built/libmobilebert_mobile.so"

    libraries=$kotlin/lib/kotlin-stdlib.jar:$kotlin/lib/kotlinx-coroutines-core-jvm.jar:$jna
    mkdir -p "$work/classes/stubs" "$work/classes/java"
    # These are compiled without coroutines, which Java does not need.
    run javac --release 11 -Xlint:all,-options -Werror -d "$work/classes/stubs" \
        $(find "$sources/jvm-tests/android-stubs" -name '*.java')
    plain=$work/built/mobilebert.jar:$kotlin/lib/kotlin-stdlib.jar
    run javac --release 17 -Xlint:all -Werror -cp "$plain" -d "$work/classes/java" "$sources/jvm-tests/java/JavaApi.java"
    # As a part of the same module, the classes for Android see what is internal.
    run java -Xmx1g -cp "$kotlin/lib/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect \
        -jvm-target 11 -module-name mobilebert -Xfriend-paths="$work/built/mobilebert.jar" \
        -cp "$work/built/mobilebert.jar:$work/classes/stubs:$libraries" -d "$work/classes/tests.jar" \
        "$api/io/mobilebert/android" "$sources/android/sample/src/main/kotlin" "$sources/jvm-tests/kotlin" \
        "$sources/jvm-tests/product"
    # A library with the same functions, and a backend of its own.
    profile=${PROFILE:-release}
    run cargo build --locked --profile "$profile" -p mobilebert-example-product
    folder=${CARGO_TARGET_DIR:-$here/target}/$(printf %s "$profile" | sed 's/^dev$/debug/')
    product=$(ls "$folder"/libexample_product.so "$folder"/libexample_product.dylib 2> /dev/null | head -n 1)
    case $product in *.so) run sh "$sources/pages.sh" "$product" ;; esac
    step_took "Java, Android's part and tests"

    # A heap of one size keeps its growth out of the measured memory. The tests find out the numbers of open files.
    set -- -Xms256m -Xmx256m -XX:+AlwaysPreTouch -XX:+UseSerialGC --add-opens java.base/java.io=ALL-UNNAMED \
        -Djna.library.path="$work/built" -Dmobilebert.root="$here"
    status=0
    {
        printf '\n== Java\n'
        java "$@" -cp "$work/classes/java:$plain:$jna" JavaApi || status=$?
        printf '\n== Kotlin\n'
        MOBILEBERT_MODELS=$here/models java "$@" \
            -cp "$work/classes/tests.jar:$work/classes/stubs:$work/built/mobilebert.jar:$libraries" \
            io.mobilebert.tests.MainKt || status=$?
        printf '\n== Kotlin with a backend of its own\n'
        java "$@" -Duniffi.component.mobilebert_mobile.libraryOverride="$product" \
            -cp "$work/classes/tests.jar:$work/built/mobilebert.jar:$libraries" \
            io.mobilebert.tests.product.ProductKt || status=$?
    } > "$work/tests.log" 2>&1
    cat "$work/tests.log"
    step_took "tests"
    [ "$status" = 0 ] || exit 1
    # Lines such as "6 passed, 0 failed", and above the library's pages and the files of Gradle.
    printf '\njvm: %s passed\n' "$(awk '/^[0-9]+ passed, 0 failed$/ { sum += $1 } END { print sum + 2 }' "$work/tests.log")"
}

# Checks on demand what Android asks of the Kotlin classes, after `./check-bindings jvm`: that all of them compile with
# Android's classes in the place of Java's, and that the tests pass once they are shrunk by the rules that the Gradle
# module gives to apps. ProGuard stands for R8, which follows the same rules.
#
# ANDROID_JAR names the jar of Android's classes: Debian unstable's `libandroid-23-java` has it for Android 6.
check_jvm_android() {
    work=$here/target/bindings/jvm
    sources=bindings/mobile
    step_began=$(date +%s)
    tests=$work/classes/tests.jar
    if [ ! -f "$tests" ]; then
        skip jvm-android "$tests is missing; run ./check-bindings jvm first"
        return
    fi
    android=${ANDROID_JAR:-/usr/share/java/com.android.android-23.jar}
    if [ ! -f "$android" ]; then
        skip jvm-android "$android is missing; name the jar of Android's classes in ANDROID_JAR"
        return
    fi
    proguard=${PROGUARD_JAR:-/usr/share/java/proguard.jar}
    if [ ! -f "$proguard" ] && ! install_debian proguard-cli; then
        skip jvm-android "$proguard is missing; install ProGuard (Debian: proguard-cli), or name its jar in PROGUARD_JAR"
        return
    fi
    jna=${JNA_JAR:-/usr/share/java/jna.jar}
    kotlin=${KOTLIN_COMPILER:-$work/kotlin-$kotlin_version/package}/lib

    run java -Xmx1g -cp "$kotlin/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -no-jdk \
        -jvm-target 11 -module-name mobilebert -d "$work/classes/app.jar" \
        -cp "$android:$kotlin/kotlin-stdlib.jar:$kotlin/kotlinx-coroutines-core-jvm.jar:$jna" \
        "$work/built/generated" "$sources/android/mobilebert/src/main/kotlin" "$sources/android/sample/src/main/kotlin"
    step_took "the classes and the sample, with Android's classes"

    # An app that calls everything: the tests. Their own rules keep what starts them. Rules of libraries lie in their
    # archives, where R8 finds them.
    unzip -p "$kotlin/kotlinx-coroutines-core-jvm.jar" META-INF/proguard/coroutines.pro > "$work/coroutines.pro"
    shrunk=$work/classes/shrunk.jar
    rm -f "$shrunk"
    printf '\n== java -jar %s\n' "$proguard"
    java -Xmx1500m -jar "$proguard" -injars "$tests:$work/built/mobilebert.jar" \
        -injars "$kotlin/kotlin-stdlib.jar(!META-INF/**)" -injars "$jna(!META-INF/**)" \
        -injars "$kotlin/kotlinx-coroutines-core-jvm.jar(!META-INF/**)" -outjars "$shrunk" -libraryjars "$android" \
        -include "$sources/android/mobilebert/consumer-rules.pro" -include "$work/coroutines.pro" \
        -keep 'class io.mobilebert.tests.MainKt { public static void main(java.lang.String[]); }' \
        -dontnote -ignorewarnings -dontwarn 'kotlin.**,kotlinx.**,com.sun.jna.**,io.mobilebert.tests.**' \
        -dontwarn 'java.lang.invoke.**,org.jetbrains.annotations.**' > "$work/proguard.log" 2>&1 || {
        cat "$work/proguard.log"
        exit 1
    }
    # What Android 6 lacks and Android 7 has, which is the oldest that the module is for.
    if grep '^Warning: io[.]mobilebert[.]' "$work/proguard.log" | grep -v "method 'int hashCode([a-z]*)' in library class"
    then
        printf 'these classes use what Android lacks\n' >&2
        exit 1
    fi
    step_took "shrinking"

    status=0
    MOBILEBERT_MODELS=$here/models java -Xms256m -Xmx256m -XX:+AlwaysPreTouch -XX:+UseSerialGC \
        --add-opens java.base/java.io=ALL-UNNAMED -Djna.library.path="$work/built" -Dmobilebert.root="$here" \
        -cp "$shrunk:$work/classes/stubs" io.mobilebert.tests.MainKt > "$work/shrunk.log" 2>&1 || status=$?
    cat "$work/shrunk.log"
    step_took "tests of the shrunk classes"
    [ "$status" = 0 ] || exit 1
    printf '\njvm-android: %s passed\n' "$(awk '/^[0-9]+ passed, 0 failed$/ { sum += $1 } END { print sum + 1 }' "$work/shrunk.log")"
}
