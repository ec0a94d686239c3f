#!/bin/sh
# SPDX-License-Identifier: MIT
# Each sketch compiles alone.
: "${srcdir:=.}" "${CC:=cc}"
failed=0
for sketch in "$srcdir"/doc/sketches/*.h; do
    [ -e "$sketch" ] || exit 77
    # shellcheck disable=SC2086 # $CC and $CFLAGS are words
    $CC $CFLAGS -std=c11 -fsyntax-only -Wall -Wextra -Werror -I"$srcdir/include" -x c "$sketch" ||
        failed=$((failed + 1))
done
echo "$failed failures"
[ "$failed" -eq 0 ]
