#!/bin/sh
# SPDX-License-Identifier: MIT
# Examples, as a stranger would build them: the library is installed in a folder of its own and found by pkg-config
# alone; each program must print what its head comment promises.
: "${srcdir:=.}" "${CC:=cc}"
[ "$PLAIT_INSTRUMENTED" != yes ] || { echo "an instrumented library is not for strangers"; exit 77; }
. "$srcdir/tests/support/stranger.sh"
failed=0

# TEST_EMULATOR, a word or nothing, runs the programs of another processor.
: "${TEST_EMULATOR:=}"

# ---- Help ---------------------------------------------------------------------------------

fail()
{
    echo "FAILED: $*"
    failed=$((failed + 1))
}

# build SOURCE: the program lies in the work folder, named after it.
build()
{
    # shellcheck disable=SC2046 # words are wanted
    $CC -o "$work/$(basename "$1" .c)" "$srcdir/examples/$1" $(pkg-config --cflags --libs plait) ||
        fail "$1 does not build"
}

# expect NAME: what stands in the work folder as NAME.out is NAME.expected.
expect()
{
    diff "$work/$1.expected" "$work/$1.out" >&2 || fail "$1 printed something else"
}

# ---- Programs -----------------------------------------------------------------------------

build ticket_office.c
timeout 120 $TEST_EMULATOR "$work/ticket_office" >"$work/office.raw" || fail "ticket_office: exit code $?"
sed 's/ [1-9][0-9]* sold: oversold/ N sold: oversold/' "$work/office.raw" >"$work/ticket_office.out"
cat >"$work/ticket_office.expected" <<'EOF'
without a lock: 10 tickets, N sold: oversold
with a lock: 10 tickets, 10 sold: exact
EOF
expect ticket_office

build shared_counter.c
timeout 120 $TEST_EMULATOR "$work/shared_counter" >"$work/shared_counter.out" || fail "shared_counter: exit code $?"
cat >"$work/shared_counter.expected" <<'EOF'
the holder was killed by signal 9
the lock says that its owner died: up is 1, down is 0
repaired
four processes counted to 4000
EOF
expect shared_counter

build first_of.c
timeout 120 $TEST_EMULATOR "$work/first_of" >"$work/first_of.out" || fail "first_of: exit code $?"
echo '20 soups and 30 steaks carried out, both cooks have gone home' >"$work/first_of.expected"
expect first_of
# Addresses, offsets and numbers of threads differ from run to run.
build deadlock.c
timeout 120 $TEST_EMULATOR "$work/deadlock" >"$work/deadlock.raw" || fail "deadlock: exit code $?"
sed -E -e 's/ 0x[0-9a-f]+//g; s/\+0x[0-9a-f]+//g; s/ \([0-9]+\)//' \
    -e 's/is .*, build-id [0-9a-z]+$/is FILE/' "$work/deadlock.raw" >"$work/deadlock.out"
cat >"$work/deadlock.expected" <<'EOF'
one after the other:
plait: lock order: plait_lock_acquire: thread "back" acquires lock (ann) and holds lock (bob), which have been acquired in the other order: this can deadlock
    now
      holds    lock (bob), acquired in transfer (deadlock)
      acquires lock (ann) in transfer (deadlock)
    before, thread "give"
      held     lock (ann), acquired in transfer (deadlock)
      acquired lock (bob) in transfer (deadlock)
    deadlock is FILE
at one time:
give: the deadline passed, back: the deadline passed
with an rlock:
give: done, back: done
EOF
expect deadlock

# Either of the two may come first; the pause only makes that likely.
build two_programs/producer.c
build two_programs/consumer.c
echo 'producer: 1000 orders sent, receipt for 1000 orders, 500500 in all' >"$work/producer.expected"
echo 'consumer: 1000 orders served' >"$work/consumer.expected"
for order in "producer consumer" "consumer producer"; do
    first=${order% *}
    second=${order#* }
    timeout 120 $TEST_EMULATOR "$work/$first" "plait-check-$$" >"$work/$first.out" &
    sleep 0.2
    timeout 120 $TEST_EMULATOR "$work/$second" "plait-check-$$" >"$work/$second.out" || fail "$second: exit code $?"
    wait $! || fail "$first: exit code $?"
    expect producer
    expect consumer
    [ -z "$(find /dev/shm -name "*plait-check-$$*")" ] || fail "the arena was left in /dev/shm"
done

cp -r "$srcdir/examples/external" "$work/external"
chmod -R u+w "$work/external"
(unset MAKEFLAGS MFLAGS MAKELEVEL; make -s -C "$work/external" CC="$CC") || fail "external does not build"
timeout 120 $TEST_EMULATOR "$work/external/app" >"$work/external.out" || fail "external/app: exit code $?"
echo '400 squares, sum 21413400, never more than 2 at work' >"$work/external.expected"
expect external

# The complete programs of the manual pages link as well.
sh "$srcdir/tests/support/manual_programs.sh" "$work" "$srcdir"/doc/*.[37]
programs=0
for program in "$work"/manual_*.c; do
    programs=$((programs + 1))
    # shellcheck disable=SC2046
    $CC -o "${program%.c}" "$program" $(pkg-config --cflags --libs plait) || fail "$(basename "$program") does not link"
done

echo "$programs programs of the manual, $failed failures"
[ "$failed" -eq 0 ]
