#!/bin/sh
# SPDX-License-Identifier: MIT
# Check one of the models in tests/models over all interleavings with spin: no assertion fails, and nobody waits for ever.
# Each model names the source it stands for; who changes that changes the model.
#
#   check_model.sh MODEL.pml
: "${SPIN:=spin}" "${HOST_CC:=cc}"
name=$(basename "$1" .pml)
model=$(cd "$(dirname "$1")" && pwd)/$name.pml && [ -r "$model" ] || exit 99
command -v "$SPIN" >/dev/null && command -v "$HOST_CC" >/dev/null || {
    echo "SKIPPED: needs spin and cc"
    exit 77
}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

if "$SPIN" -a "$model" >spin.log 2>&1 && "$HOST_CC" -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=1800 -o pan pan.c &&
    ./pan -m1000000 >pan.log 2>&1 && grep -q 'errors: 0' pan.log &&
    ! grep -q 'max search depth too small\|Search not completed\|out of memory\|MEMLIM' pan.log; then
    echo "$name: $(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log) states, no error"
else
    echo "FAILED: $name"
    cat spin.log pan.log 2>/dev/null
    [ ! -e "$name.pml.trail" ] || "$SPIN" -k "$name.pml.trail" -t -p "$model" | tail -n 80
    exit 1
fi
