/* SPDX-License-Identifier: MIT */
/* Which libplait a program was compiled against, and which it runs with. */
#ifndef PLAIT_VERSION_H
#define PLAIT_VERSION_H

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/* The release whose headers these are. configure reads these three lines. */
#define PLAIT_VERSION_MAJOR 0
#define PLAIT_VERSION_MINOR 1
#define PLAIT_VERSION_PATCH 0

/*
 * Give the release of the library that the program runs with, as "major.minor.patch".
 *
 * It may be newer than the PLAIT_VERSION_ macros, which are fixed when the program is compiled.
 * The string is static and never changes. Any caller, signal handlers included; does not block,
 * cannot fail.
 */
PLAIT_API const char *plait_version(void);

PLAIT_END_DECLS

#endif
