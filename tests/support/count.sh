#!/bin/sh
# SPDX-License-Identifier: MIT
# Count what `make check` left in a build folder; prints "passed failed skipped".
#
# A cmocka program counts by its cases, a script as one. A program that automake calls failed
# though no case of it is (a crash, a time-out) counts as one more failure.
find "${1:-.}/tests" -name '*.trs' 2>/dev/null | sort | {
    passed=0 failed=0 skipped=0
    while read -r trs; do
        result=$(sed -n 's/^:global-test-result: *//p' "$trs")
        # shellcheck disable=SC2046
        set -- $(awk '
            /^\[  PASSED  \] [0-9]+ test/ { p += $4; cases = 1 }
            /^\[  FAILED  \] [0-9]+ test/ { f += $4; cases = 1 }
            /^\[  SKIPPED \] [0-9]+ test/ { s += $4; cases = 1 }
            END { print cases + 0, p + 0, f + 0, s + 0 }' "${trs%.trs}.log")
        passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
        case $result in
        PASS) [ "$1" -eq 1 ] || passed=$((passed + 1)) ;;
        SKIP) [ "$1" -eq 1 ] || skipped=$((skipped + 1)) ;;
        *) [ "$3" -gt 0 ] || failed=$((failed + 1)) ;;
        esac
    done
    echo "$passed $failed $skipped"
}
