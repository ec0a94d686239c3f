/* SPDX-License-Identifier: MIT */
/* The release of this library. */
#include <plait/version.h>

#define TEXT_OF(number) #number
#define DOTTED(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *plait_version(void)
{
    return DOTTED(PLAIT_VERSION_MAJOR, PLAIT_VERSION_MINOR, PLAIT_VERSION_PATCH);
}
