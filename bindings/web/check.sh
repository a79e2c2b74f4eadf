# Builds the npm package and tests its tarball as a user gets it: installed into an empty project, in Node
# and, where there is one, in Chromium.
#
# `./check-bindings web` reads this file and calls `check_web`.

check_web() {
    work=$here/target/bindings/web
    status=0
    bindings/web/build || status=$?
    if [ "$status" -eq 3 ]; then
        skip web "there is no npm, or no compiler for WebAssembly; see above"
        return
    fi
    [ "$status" -eq 0 ] || exit 1
    set -- "$work"/mobilebert-*.tgz
    project=$work/project
    rm -rf "$project"
    mkdir -p "$project"
    printf '{"private": true, "type": "module"}\n' > "$project/package.json"
    (cd "$project" && run npm install --offline --no-audit --no-fund "$1")
    # What only the tests need lies beside the package that is tested.
    cp -R bindings/web/tests bindings/web/demo "$project/"
    tools=$work/tools/node_modules
    cp -R "$tools/playwright-core" "$tools/@types" "$tools/undici-types" "$project/node_modules/"
    for resolution in NodeNext Bundler; do
        module=NodeNext
        [ $resolution = NodeNext ] || module=ESNext
        (cd "$project" && run "$tools/.bin/tsc" --noEmit --strict --target ES2022 --lib ES2023,DOM --types node \
            --module $module --moduleResolution $resolution tests/types.ts)
    done
    tests='tests/node.test.mjs tests/failures.test.mjs tests/firefox.test.mjs'
    if (cd "$project" && node tests/browser.mjs); then
        tests="$tests tests/browser.test.mjs tests/demo.test.mjs"
    elif [ "${CI:-}" = true ]; then
        printf 'web: there is no browser; install chromium, or name one in CHROMIUM\n' >&2
        exit 1
    else
        printf '\nweb: SKIPPED in the browser: there is none; install chromium, or name one in CHROMIUM\n' >&2
    fi
    printf '\n== node --test %s\n' "$tests"
    # $tests is several words. One file after another, because each uses all of the machine.
    (cd "$project" && ROOT=$here node --test --test-concurrency=1 --test-reporter=tap $tests) \
        > "$work/tests.log" 2>&1 || status=$?
    grep -E '^ *(not ok|# [0-9]|# (simd|plain)\.wasm)|^ok' "$work/tests.log" || true
    if [ "$status" -ne 0 ]; then
        cat "$work/tests.log"
        exit 1
    fi
    printf '\nweb: %s passed\n' "$(sed -n 's/^# pass //p' "$work/tests.log")"
}
