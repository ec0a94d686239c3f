#!/bin/sh
# SPDX-License-Identifier: MIT
# Tools that look for data races are silent about a program that uses the library rightly, noun by noun, and report the race of the
# same program with the guard left out, or with another one; nothing is suppressed but what the tools themselves suppress of libc.
# In a build with --with-sanitizer=thread: ThreadSanitizer; with --enable-valgrind: helgrind and DRD.
set -u

tools=${PLAIT_RACE_TOOLS-}
[ -n "$tools" ] || {
    echo "no tool in this build: --enable-valgrind, or --with-sanitizer=thread"
    exit 77
}

nouns="lock rlock sem rwlock event is_set cond barrier once latch wait_group queue pipe broadcast dict list latest value array thread timer crew"
in_place="lock rlock sem rwlock event cond barrier once latch wait_group" # objects of the caller's memory

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

fixed=
setarch -R true 2>/dev/null && fixed="setarch -R"

# run TOOL NOUN WAY [shared]: the exit status is 99 where a race was reported.
run() {
    tool=$1
    shift
    # shellcheck disable=SC2086 # none or two words
    case $tool in
    tsan) TSAN_OPTIONS="exitcode=99 halt_on_error=0" $fixed tests/race/nouns "$@" ;;
    *) valgrind -q --tool="$tool" --fair-sched=try --error-exitcode=99 tests/race/nouns "$@" ;;
    esac >"$dir/$tool" 2>&1
}

# failed TOOL ...: say so, with what the tool said.
failed() {
    echo "FAILED: $*"
    sed 's/^/    /' "$dir/$1" | head -n 60
    failures=$((failures + 1))
}

# silent TOOL NOUN WAY [shared]
silent() {
    run "$@"
    status=$?
    count=$((count + 1))
    [ $status -eq 0 ] && [ ! -s "$dir/$1" ] || failed "$*: status $status, expected silence"
}

# reported TOOL NOUN WAY [shared]: a race, and in the program's code.
reported() {
    run "$@"
    status=$?
    count=$((count + 1))
    { [ $status -eq 99 ] && grep -q 'nouns\.c:' "$dir/$1"; } || failed "$*: status $status, expected a report"
}

# All that one tool is asked. The status is the number of answers that were wrong.
ask() {
    count=0
    failures=0
    silent "$1" all guarded
    silent "$1" all guarded shared
    for noun in $nouns; do
        reported "$1" "$noun" unguarded
        reported "$1" "$noun" wrong
    done
    reported "$1" rwlock reading
    for noun in $in_place; do
        reported "$1" "$noun" reused
    done
    echo "$1: $count runs, $failures not as expected"
    return $failures
}

# Side by side: each run is one busy thread.
for tool in $tools; do
    (ask "$tool" && : >"$dir/$tool.passed") >"$dir/$tool.log" 2>&1 &
done
wait
bad=0
for tool in $tools; do
    cat "$dir/$tool.log"
    [ -e "$dir/$tool.passed" ] || bad=1
done
exit $bad
