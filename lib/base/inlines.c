/* SPDX-License-Identifier: MIT */
/* The one place that emits the public inline functions; export.h tells how. */
#define PLAIT_EMIT_INLINES 1
#include "base/watched.h"

#include <plait.h>

/* ISO C wants a declaration in every file, and there may be no inline function yet. */
_Static_assert(PLAIT_EMIT_INLINES, "the inline functions are emitted here");
