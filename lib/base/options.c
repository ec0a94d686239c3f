/* SPDX-License-Identifier: MIT */
#include "base/options.h"

#include <errno.h>
#include <string.h>

int plait__options_read(void *ours, size_t our_size, const void *theirs, size_t size)
{
    const unsigned char *bytes = theirs;

    memset(ours, 0, our_size);
    if (!theirs)
        return 0;
    for (size_t i = our_size; i < size; i++)
        if (bytes[i])
            return EINVAL;
    memcpy(ours, theirs, size < our_size ? size : our_size);
    return 0;
}
