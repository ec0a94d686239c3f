#!/bin/sh
# SPDX-License-Identifier: MIT
# psum, built as a stranger would, over a tree of 10,000 files: the sums of sha256sum on threads and on processes, with strange names,
# with files that cannot be read, with workers and with psum itself killed in the middle.
: "${srcdir:=.}" "${CC:=cc}"
[ "$PLAIT_INSTRUMENTED" != yes ] || { echo "an instrumented library is not for strangers"; exit 77; }
pkg-config --exists libcrypto 2>/dev/null || { echo "libcrypto is missing"; exit 77; }
command -v sha256sum >/dev/null 2>&1 && command -v pgrep >/dev/null 2>&1 || { echo "sha256sum or pgrep is missing"; exit 77; }
. "$srcdir/tests/support/stranger.sh"
failed=0
passed=0

ok()
{
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
    else
        echo "FAILED: $2"
        failed=$((failed + 1))
    fi
}

echo 'int main(void) { return 0; }' >"$work/trial.c"
# shellcheck disable=SC2046 # words are wanted
$CC -o "$work/trial" "$work/trial.c" $(pkg-config --cflags --libs libcrypto) 2>/dev/null ||
    { echo "$CC does not link with libcrypto"; exit 77; }
# shellcheck disable=SC2046
$CC -O2 -o "$work/psum-test" "$srcdir/examples/psum.c" $(pkg-config --cflags --libs plait libcrypto) || exit 1
psum=$work/psum-test
cd "$work" || exit 99

# ---- The tree: 10,000 files, some names that need escaping ---------------------------------------

mkdir tree
i=0
while [ $i -lt 100 ]; do
    mkdir "tree/d$i"
    ( cd "tree/d$i" && seq $((i * 1000)) $((i * 1000 + 3000)) | split -a 2 -l 30 - f )
    i=$((i + 1))
done
head -c 3000000 /dev/urandom >tree/large
: >tree/empty
printf x >'tree/with space'
printf y >'tree/back\slash'
printf z >"tree/new
line"
printf r >"tree/carriage$(printf '\r')return"
ln -s large tree/link
count=$(find tree -type f | tr -dc '\n' | wc -c)
[ "$count" -ge 10000 ]
ok $? "the tree has $count files only"
find tree -type f -print0 | xargs -0 sha256sum | sort >expected

# ---- The same sums --------------------------------------------------------------------------------

for how in "--threads 1" "--threads 4" "--processes 1" "--processes 4" "--threads 0"; do
    # shellcheck disable=SC2086
    timeout 120 "$psum" $how tree >"out" 2>err
    ok $? "psum $how: exit code"
    sort out | cmp -s - expected
    ok $? "psum $how: other sums than sha256sum"
    [ ! -s err ]
    ok $? "psum $how: says something though there is no terminal: $(head -c 300 err)"
    [ -e first ] || cp out first
    cmp -s out first
    ok $? "psum $how: another order"
done
sha256sum -c --quiet first
ok $? "sha256sum -c does not accept the output"

# ---- On a terminal -----------------------------------------------------------------------------------

# Ten trees, on a terminal of its own, whose output goes to `screen`; a fifo keeps its input open.
if command -v script >/dev/null 2>&1; then
    mkfifo input
    many="tree tree tree tree tree tree tree tree tree tree"
    for how in "--threads 1" "--processes 1"; do
        TERM=xterm timeout 120 script -qec "$psum $how $many >out" /dev/null <>input >screen
        ok $? "psum $how on a terminal: exit code"
        for tree in $many; do cat expected; done | sort >expected10
        sort out | cmp -s - expected10
        ok $? "psum $how on a terminal: other sums than sha256sum"
        grep -q 'psum: *[0-9]*% \[.*files, .*MB.* left' screen
        ok $? "psum $how on a terminal: no bar: $(tail -c 300 screen)"
        [ "$(tail -c 4 screen | od -An -tx1 | tr -d ' ')" = 0d1b5b4b ]
        ok $? "psum $how on a terminal: the last line is not clean: $(tail -c 100 screen)"
    done
    TERM=dumb timeout 120 script -qec "$psum --threads 1 $many >out" /dev/null <>input >screen
    [ ! -s screen ]
    ok $? "psum draws on a dumb terminal: $(tail -c 300 screen)"
    TERM=xterm timeout 120 script -qec "$psum --threads 2 tree" /dev/null <>input >screen
    sed 's/.*\x1b\[K//; s/\r$//' screen | sort | cmp -s - expected
    ok $? "psum's sums on the terminal of its bar are not whole"
fi

# ---- What cannot be read ---------------------------------------------------------------------------

for how in "--threads 2" "--processes 2"; do
    # shellcheck disable=SC2086
    timeout 60 "$psum" $how tree/empty nowhere /proc/self/mem 'tree/with space' >out 2>err
    [ $? -eq 1 ]
    ok $? "psum $how: exit code with unreadable files"
    sha256sum tree/empty 'tree/with space' | cmp -s - out
    ok $? "psum $how: the readable files beside unreadable ones"
    [ "$(grep -c '^psum: ' err)" -eq 2 ]
    ok $? "psum $how: reports of unreadable files: $(cat err)"
done
"$psum" --threads x tree >/dev/null 2>&1
[ $? -eq 2 ]
ok $? "exit code for wrong usage"
"$psum" >/dev/null 2>&1
[ $? -eq 2 ]
ok $? "exit code for no arguments"

# ---- Workers killed in the middle -------------------------------------------------------------------

here=$(pwd -P)

# The numbers of our psum's workers; others may run one elsewhere.
workers()
{
    for pid in $(pgrep -x psum-worker 2>/dev/null); do
        [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" != "$here" ] || echo "$pid"
    done
}

# The numbers of all living processes of our psum, zombies left out.
living()
{
    for pid in $(pgrep -f "$psum" 2>/dev/null) $(workers); do
        case $(ps -o stat= -p "$pid" 2>/dev/null) in
        Z* | '') ;;
        *) [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" != "$here" ] || echo "$pid" ;;
        esac
    done
}

# As many rounds as it takes: how many workers live long enough to be killed depends on the machine.
kills=0
round=0
while [ $round -lt 3 ] || { [ $kills -lt 10 ] && [ $round -lt 30 ]; }; do
    round=$((round + 1))
    before=$kills
    "$psum" --processes 3 --stats tree tree tree >out 2>err &
    main=$!
    while kill -0 $main 2>/dev/null; do
        victim=$(workers | tail -n $((kills % 3 + 1)) | head -n 1)
        [ -z "$victim" ] || { kill -KILL "$victim" 2>/dev/null && kills=$((kills + 1)); }
        sleep 0.01
        [ $kills -lt $((before + 5)) ] || break
    done
    wait $main
    status=$?
    { sort expected expected expected; } >expected3
    sort out >sorted
    if [ $status -eq 0 ]; then
        cmp -s sorted expected3
        ok $? "round $round: wrong sums after workers were killed"
    else
        # A file whose worker was killed each time is reported; all others must be there.
        missing=$(grep -c '^psum: .*killed' err)
        [ $status -eq 1 ] && [ "$(comm -13 sorted expected3 | wc -l)" -le "$missing" ] &&
            [ -z "$(comm -23 sorted expected3)" ]
        ok $? "round $round: exit code $status: $(tail -n 3 err)"
    fi
done
[ $kills -ge 5 ]
ok $? "only $kills workers could be killed"
echo "$kills workers killed"

# ---- psum itself ends in the middle: nothing is left --------------------------------------------------

for signal in INT TERM KILL; do
    # Its own session, so that the signal goes to the whole group, as from a terminal.
    setsid sh -c 'echo $$ >pid; exec "$0" --processes 3 tree tree tree tree >/dev/null 2>&1' "$psum" &
    waiter=$!
    tries=0
    until [ -n "$(workers)" ] || [ $tries -ge 200 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill -s $signal -- "-$(cat pid)" 2>/dev/null
    [ $signal != KILL ] || kill -s KILL "$(cat pid)" 2>/dev/null
    wait $waiter 2>/dev/null
    tries=0
    while [ -n "$(living)" ] && [ $tries -lt 300 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    left=$(living)
    [ -z "$left" ]
    ok $? "SIG$signal: processes are left: $left"
    [ -z "$left" ] || kill -KILL $left
done
[ -z "$(find /dev/shm -name '*psum*' 2>/dev/null)" ]
ok $? "something is left in /dev/shm"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
