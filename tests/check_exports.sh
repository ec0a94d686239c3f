#!/bin/sh
# SPDX-License-Identifier: MIT
# The shared library exports what the public headers declare, and nothing else.
: "${srcdir:=.}" "${NM:=nm}" "${PLAIT_LIBRARY:=.libs/libplait.so}"
[ -e "$PLAIT_LIBRARY" ] || { echo "no shared library was built"; exit 77; }
command -v "${NM%% *}" >/dev/null 2>&1 || { echo "no nm"; exit 77; }
[ "${PLAIT_INSTRUMENTED:-no}" = no ] || { echo "instrumented code has symbols of its own"; exit 77; }

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

# Statements that begin with PLAIT_API or PLAIT_INLINE; the name is the one before the first
# bracket or, of a variable, the last. Comments and preprocessor lines are taken out first.
cat "$srcdir"/include/plait.h "$srcdir"/include/plait/*.h |
    awk '
        { line = $0
          if (skip) { skip = (line ~ /\\$/); next }
          if (line ~ /^[ \t]*#/) { skip = (line ~ /\\$/); next }
          text = text " " line }
        END {
            while (match(text, /\/\*/)) {
                rest = substr(text, RSTART + 2)
                head = substr(text, 1, RSTART - 1)
                end = index(rest, "*/")
                text = head " " substr(rest, end + 2)
            }
            gsub(/PLAIT_(BEGIN_DECLS|END_DECLS|NODISCARD)[ \t]/, "", text)
            count = split(text, part, /[;{}]/)
            for (i = 1; i <= count; i++) {
                if (part[i] !~ /^[ \t]*PLAIT_(API|INLINE)[ \t]/)
                    continue
                if (match(part[i], /plait_[a-z0-9_]+[ \t]*\(/))
                    name = substr(part[i], RSTART, RLENGTH - 1)
                else {
                    sub(/[ \t]*(\[.*)?$/, "", part[i])
                    sub(/.*[ \t*]/, "", part[i])
                    name = part[i]
                }
                gsub(/[ \t]/, "", name)
                print name
            }
        }' | sort -u >"$work/declared"

# shellcheck disable=SC2086 # NM may hold options
$NM -D --defined-only "$PLAIT_LIBRARY" |
    awk '$2 != "A" { sub(/@.*/, "", $NF); print $NF }' | sort -u >"$work/exported"

failed=0
for name in $(comm -23 "$work/declared" "$work/exported"); do
    echo "FAILED: $name is declared, but not exported"
    failed=1
done
for name in $(comm -13 "$work/declared" "$work/exported"); do
    echo "FAILED: $name is exported, but no public header declares it"
    failed=1
done
if grep -v '^plait_[^_]' "$work/declared"; then
    echo "FAILED: public, but not named plait_noun_verb"
    failed=1
fi
[ -s "$work/declared" ] || { echo "FAILED: no declaration was found"; failed=1; }
echo "$(wc -l <"$work/declared") declared, $(wc -l <"$work/exported") exported"
exit "$failed"
