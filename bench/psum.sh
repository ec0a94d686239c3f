#!/bin/bash
# SPDX-License-Identifier: MIT
# How fast two workers of examples/psum.c are, beside two processes of openssl that have a half of the same files each, every
# second one by size; they are in the page cache. Run where libplait was built: make bench-psum FILES=DIRECTORY. Prints openssl's
# time over ours, the medians of nine rounds. psum walks the directory itself: that is in "whole", and not in "sums".
set -eu

top=$1 directory=${2:-/usr/include} rounds=9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

${CC:-cc} -O2 -I"$top/include" -Iinclude "$top/examples/psum.c" -o "$work/psum" -L.libs -lplait -Wl,-rpath,"$PWD/.libs" -lcrypto -pthread
find "$directory" -type f -printf '%s %p\0' | sort -z -n | cut -z -d ' ' -f 2- >"$work/list"
count=$(tr -cd '\0' <"$work/list" | wc -c)
sed -z -n '1~2p' "$work/list" >"$work/first"
sed -z -n '2~2p' "$work/list" >"$work/second"
xargs -0 cat <"$work/list" >/dev/null

by_openssl() {
    xargs -0 openssl dgst -sha256 <"$work/first" >"$work/sums1" &
    xargs -0 openssl dgst -sha256 <"$work/second" >"$work/sums2"
    wait
}

# by_psum --threads|--processes: prints the seconds that the sums alone have taken
by_psum() {
    "$work/psum" "$1" 2 --stats "$directory" 2>&1 >"$work/sums" | sed -n 's/.* MB, \([0-9.]*\) s,.*/\1/p'
}

now() { date +%s.%N; }
median() { sort -g "$1" | sed -n $(((rounds + 1) / 2))p; }

for ((i = 0; i < rounds; i++)); do
    start=$(now)
    by_openssl
    echo "$(now) - $start" | bc >>"$work/openssl"
    for kind in --threads --processes; do
        start=$(now)
        by_psum $kind >>"$work/sums$kind"
        echo "$(now) - $start" | bc >>"$work/whole$kind"
    done
done
for kind in --threads --processes; do
    for what in sums whole; do
        printf '%s %s: %d files, %.3f s, openssl %.3f s, %.2f\n' "$kind" $what "$count" "$(median "$work/$what$kind")" \
            "$(median "$work/openssl")" "$(echo "$(median "$work/openssl") / $(median "$work/$what$kind")" | bc -l)"
    done
done
