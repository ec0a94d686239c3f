#!/bin/sh
# SPDX-License-Identifier: MIT
# Each public header compiles alone, as C11 and as C++17, and plait.h includes them all but the pthread names.
: "${srcdir:=.}"
failed=0
used=0
# A name for the unit, because ISO C forbids an empty one and a header may hold macros alone.
unit=$(mktemp) || exit 99
trap 'rm -f "$unit"' EXIT
echo 'typedef int nothing;' >"$unit"

# try HEADER [FLAG...]: compile the header alone with $compiler, all warnings being errors.
try() {
    header=$1
    shift
    # shellcheck disable=SC2086 # the words of $compiler are words
    $compiler -fsyntax-only -Wall -Wextra -Wpedantic -Werror "$@" -I"$srcdir/include" \
        -include "$header" "$unit" && return
    echo "FAILED: $compiler $* $header"
    failed=$((failed + 1))
}

for compiler in "gcc -x c -std=c11" "clang -x c -std=c11" \
                "g++ -x c++ -std=c++17" "clang++ -x c++ -std=c++17"; do
    command -v "${compiler%% *}" >/dev/null 2>&1 || continue
    # shellcheck disable=SC2086 # the words of $compiler are words
    $compiler -fsyntax-only -Wall -Wextra -Wpedantic -Werror "$unit" 2>/dev/null || continue
    used=$((used + 1))
    for header in "$srcdir"/include/*.h "$srcdir"/include/*/*.h; do
        try "$header"
    done
    try "$srcdir/include/plait.h" -DPLAIT_NO_INLINE
    try "$srcdir/include/plait.h" -DPLAIT_EMIT_INLINES
done
for header in "$srcdir"/include/plait/*.h; do
    case $header in */pthread.h | */pthread_names.h) continue ;; esac # they give libc's names another meaning
    grep -q "^#include <plait/${header##*/}>" "$srcdir/include/plait.h" || {
        echo "FAILED: plait.h does not include plait/${header##*/}"
        failed=$((failed + 1))
    }
done
[ "$used" -gt 0 ] || { echo "no compiler to try with"; exit 77; }
echo "$used compilers, $failed failures"
[ "$failed" -eq 0 ]
