# SPDX-License-Identifier: MIT
# Probes of configure: compiler flags, the linker's version script, kernel headers.

# PLAIT_CFLAG(variable, flag...): append to the variable each flag that the compiler knows.
# The positive form of a -Wno-x is probed, because gcc takes any unknown -Wno-x in silence.
AC_DEFUN([PLAIT_CFLAG], [
    for plait_flag in m4_normalize([$2]); do
        AS_CASE([$plait_flag],
            [-Wno-*], [plait_probe=-W${plait_flag@%:@-Wno-}],
            [plait_probe=$plait_flag])
        AS_VAR_PUSHDEF([plait_cache], [plait_cv_flag_$plait_flag])
        AC_CACHE_CHECK([whether $CC accepts $plait_flag], [plait_cache], [
            plait_save_CFLAGS=$CFLAGS
            CFLAGS="$CFLAGS -Werror $plait_probe"
            AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
                [AS_VAR_SET([plait_cache], [yes])], [AS_VAR_SET([plait_cache], [no])])
            CFLAGS=$plait_save_CFLAGS
        ])
        AS_VAR_IF([plait_cache], [yes], [$1="$$1 $plait_flag"])
        AS_VAR_POPDEF([plait_cache])
    done
])

# PLAIT_VERSION_SCRIPT: set plait_cv_version_script to yes or no.
AC_DEFUN([PLAIT_VERSION_SCRIPT], [
    AC_CACHE_CHECK([whether the linker takes a version script], [plait_cv_version_script], [
        AS_ECHO(["PLAIT_1 { global: plait_@<:@!_@:>@*; local: *; };"]) > conftest.map
        plait_save_CFLAGS=$CFLAGS
        plait_save_LDFLAGS=$LDFLAGS
        CFLAGS="$CFLAGS -fPIC"
        LDFLAGS="$LDFLAGS -shared -Wl,--version-script=conftest.map"
        AC_LINK_IFELSE([AC_LANG_SOURCE([[int plait_probe(void); int plait_probe(void) { return 0; }]])],
            [plait_cv_version_script=yes], [plait_cv_version_script=no])
        CFLAGS=$plait_save_CFLAGS
        LDFLAGS=$plait_save_LDFLAGS
        rm -f conftest.map
    ])
])

# PLAIT_KERNEL_HEADERS: a libc beside the system's own (musl-gcc) does not see the kernel's headers.
# Give it those alone, through a folder of links; sets PLAIT_KERNEL_CPPFLAGS.
AC_DEFUN([PLAIT_KERNEL_HEADERS], [
    PLAIT_KERNEL_CPPFLAGS=
    AC_CHECK_HEADER([linux/futex.h], [], [
        plait_asm=/usr/include/`$CC -dumpmachine 2>/dev/null`/asm
        AS_IF([test -d "$plait_asm"], [], [plait_asm=/usr/include/asm])
        AS_IF([test -f /usr/include/linux/futex.h && test -d "$plait_asm"], [
            rm -rf kernel-headers
            AS_MKDIR_P([kernel-headers])
            ln -s /usr/include/linux /usr/include/asm-generic "$plait_asm" kernel-headers/
            PLAIT_KERNEL_CPPFLAGS='-idirafter $(abs_top_builddir)/kernel-headers'
            AC_MSG_NOTICE([using the kernel headers of /usr/include])
        ], [AC_MSG_ERROR([linux/futex.h is missing (Debian: linux-libc-dev)])])
    ], [#include <stdint.h>])
    AC_SUBST([PLAIT_KERNEL_CPPFLAGS])
])
