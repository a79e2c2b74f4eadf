# `just check` is what CI runs.
check:
    ./check
    ./check-bindings
