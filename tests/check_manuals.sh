#!/bin/sh
# SPDX-License-Identifier: MIT
# Manual pages: well-formed; every public function has one; every complete program in them compiles.
: "${srcdir:=.}" "${CC:=cc}"
command -v mandoc >/dev/null 2>&1 || { echo "mandoc is missing"; exit 77; }
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
failed=0

fail()
{
    echo "FAILED: $*"
    failed=$((failed + 1))
}

for page in "$srcdir"/doc/*.[1-9]; do
    mandoc -T lint -W warning "$page" || fail "$page: mandoc -T lint"
    sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z0-9_]*\).*/\1/p' "$page" >>"$work/named"
done

# The name stands before the first bracket of a declaration, on the line that begins with the mark.
sed -n 's/^PLAIT_\(API\|INLINE\|INLINE_ALWAYS\) [^(]*\(plait_[a-z0-9_]*\)(.*/\2/p' "$srcdir"/include/plait/*.h |
    grep -v -e '_slow$' -e '_sized$' | sort -u >"$work/declared"
[ -s "$work/declared" ] || fail "no function found in the headers"
while read -r name; do
    grep -qx "$name" "$work/named" || fail "$name stands in no page's NAME"
done <"$work/declared"

# And a page speaks of no function that is gone.
sed -n 's/^\.F[no] \(plait_[a-z0-9_]*\).*/\1/p' "$srcdir"/doc/*.[1-9] | sort -u |
    while read -r name; do
        grep -qx "$name" "$work/declared" || echo "$name"
    done >"$work/gone"
while read -r name; do
    fail "$name is described and not declared"
done <"$work/gone"

sh "$srcdir/tests/support/manual_programs.sh" "$work" "$srcdir"/doc/*.[1-9]
# The synopses agree with the headers: declared once more, a function keeps its type.
{
    for header in "$srcdir"/include/plait/*.h; do
        echo "#include <plait/${header##*/}>"
    done
    awk '/^\.Sh /{ on = ($2 == "SYNOPSIS") }
        !on { next }
        { text = substr($0, 5); gsub(/"/, "", text) }
        /^\.Ft /{ type = text }
        /^\.Fo /{ name = text; list = "" }
        /^\.Fa /{ list = list (list == "" ? "" : ", ") text }
        /^\.Fc/{ print type, name "(" list ");" }' "$srcdir"/doc/*.[1-9]
} >"$work/synopsis.c"
# shellcheck disable=SC2086
$CC $CFLAGS -std=c11 -I"$srcdir/include" -fsyntax-only "$work/synopsis.c" ||
    fail "a synopsis differs from its header"

sed -n "/^A program, complete:/,/^    cc /{ /^    cc /d; s/^    //p; }" "$srcdir/README" \
    >"$work/manual_README.c"
programs=0
for program in "$work"/manual_*.c; do
    [ -e "$program" ] || { fail "no complete program in any page"; break; }
    programs=$((programs + 1))
    # shellcheck disable=SC2086 # $CC and $CFLAGS are words
    $CC $CFLAGS -std=c11 -Wall -Wextra -Werror -I"$srcdir/include" \
        -c -o "$work/program.o" "$program" || fail "$(basename "$program") does not compile"
done

echo "$(wc -l <"$work/declared") functions, $programs programs, $failed failures"
[ "$failed" -eq 0 ]
