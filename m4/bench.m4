# SPDX-License-Identifier: MIT
# Peers of the benchmarks: each is optional, and nothing but `make bench` needs them.

# PLAIT_BENCH_LINKS(libraries, header, expression, flags): does a program in C link with it? Sets plait_links.
AC_DEFUN([PLAIT_BENCH_LINKS], [
    plait_save_CFLAGS=$CFLAGS
    plait_save_LIBS=$LIBS
    CFLAGS="$CFLAGS $4"
    LIBS="$1 $LIBS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([$2], [$3])], [plait_links=yes], [plait_links=no])
    CFLAGS=$plait_save_CFLAGS
    LIBS=$plait_save_LIBS
])

# PLAIT_BENCH_CXX_PEER(name, header, libraries): take the peer if BENCH_CXX finds the header, and the libraries link.
AC_DEFUN([PLAIT_BENCH_CXX_PEER], [
    AC_MSG_CHECKING([for $1 to race against])
    plait_links=no
    AS_ECHO(["#include <$2>"]) > conftest.cc
    AS_IF([test -n "$BENCH_CXX" && $BENCH_CXX -std=c++17 -E -o /dev/null conftest.cc >&AS_MESSAGE_LOG_FD 2>&1],
        [PLAIT_BENCH_LINKS([$3 -lstdc++], [], [])])
    rm -f conftest.cc
    AC_MSG_RESULT([$plait_links])
    AS_IF([test $plait_links = yes], [
        BENCH_CXX_OBJECTS="$BENCH_CXX_OBJECTS bench/peer_$1.o"
        BENCH_CXX_LIBS="$3 $BENCH_CXX_LIBS"
        plait_bench_peers="$plait_bench_peers $1"])
])

# PLAIT_BENCH_PEERS: find them all; plait_bench_peers lists those found.
AC_DEFUN([PLAIT_BENCH_PEERS], [
    plait_bench_peers=
    AC_MSG_CHECKING([for nsync to race against])
    PLAIT_BENCH_LINKS([-lnsync], [#include <nsync.h>], [nsync_mu_lock((nsync_mu *)0)])
    AC_MSG_RESULT([$plait_links])
    AM_CONDITIONAL([BENCH_NSYNC], [test $plait_links = yes])
    AS_IF([test $plait_links = yes], [plait_bench_peers="$plait_bench_peers nsync"])

    plait_links=no
    PKG_CHECK_MODULES([BENCH_GLIB], [glib-2.0], [
        PLAIT_BENCH_LINKS([$BENCH_GLIB_LIBS], [#include <glib.h>], [g_async_queue_new()], [$BENCH_GLIB_CFLAGS])], [:])
    AM_CONDITIONAL([BENCH_GLIB], [test $plait_links = yes])
    AS_IF([test $plait_links = yes], [plait_bench_peers="$plait_bench_peers glib"])

    plait_links=no
    PKG_CHECK_MODULES([BENCH_UV], [libuv], [
        PLAIT_BENCH_LINKS([$BENCH_UV_LIBS], [#include <uv.h>], [uv_default_loop()], [$BENCH_UV_CFLAGS])], [:])
    AM_CONDITIONAL([BENCH_UV], [test $plait_links = yes])
    AS_IF([test $plait_links = yes], [plait_bench_peers="$plait_bench_peers libuv"])

    AC_MSG_CHECKING([for libev to race against])
    PLAIT_BENCH_LINKS([-lev], [#include <ev.h>], [ev_loop_new(0)])
    AC_MSG_RESULT([$plait_links])
    AM_CONDITIONAL([BENCH_EV], [test $plait_links = yes])
    AS_IF([test $plait_links = yes], [plait_bench_peers="$plait_bench_peers libev"])

    AC_CHECK_PROGS([BENCH_PYTHON], [python3])
    AS_IF([test -n "$BENCH_PYTHON"], [plait_bench_peers="$plait_bench_peers python"])

    AC_CHECK_PROGS([BENCH_CXX], [g++ clang++ c++])
    BENCH_CXX_OBJECTS=
    BENCH_CXX_LIBS=-lstdc++
    PKG_CHECK_MODULES([BENCH_ABSL], [absl_synchronization], [
        PLAIT_BENCH_CXX_PEER([absl], [absl/synchronization/mutex.h], [$BENCH_ABSL_LIBS])], [:])
    PLAIT_BENCH_CXX_PEER([boost], [boost/interprocess/ipc/message_queue.hpp], [])
    PLAIT_BENCH_CXX_PEER([moodycamel], [concurrentqueue/blockingconcurrentqueue.h], [])
    PLAIT_BENCH_CXX_PEER([tbb], [tbb/concurrent_queue.h], [-ltbb])
    AS_IF([test -z "$BENCH_CXX_OBJECTS"], [BENCH_CXX_LIBS=])
    AC_SUBST([BENCH_CXX_OBJECTS])
    AC_SUBST([BENCH_CXX_LIBS])
])
