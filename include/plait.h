/* SPDX-License-Identifier: MIT */
/* All of libplait: each header is complete alone, this one includes them all. */
#ifndef PLAIT_H
#define PLAIT_H

#include <plait/export.h>
#include <plait/version.h>
#include <plait/error.h>

#endif
