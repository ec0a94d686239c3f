# SPDX-License-Identifier: MIT
# Sourced by tests that build programs as a stranger would: the library is installed in a folder of its own ($work/root) and found by
# pkg-config alone. Leaves $work, an empty folder that goes away at exit, and $srcdir absolute. Exits 77 if it cannot be.
command -v pkg-config >/dev/null 2>&1 || { echo "pkg-config is missing"; exit 77; }
srcdir=$(cd "$srcdir" && pwd) || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

(unset MAKEFLAGS MFLAGS MAKELEVEL; make -s install DESTDIR="$work/root" >"$work/install.log" 2>&1) || {
    cat "$work/install.log"
    exit 1
}
PKG_CONFIG_PATH=$(dirname "$(find "$work/root" -name plait.pc)")
PKG_CONFIG_SYSROOT_DIR=$work/root
LD_LIBRARY_PATH=$work/root$(PKG_CONFIG_SYSROOT_DIR='' PKG_CONFIG_PATH=$PKG_CONFIG_PATH \
    pkg-config --variable=libdir plait)
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH
