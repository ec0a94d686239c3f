/* SPDX-License-Identifier: MIT */
/* cmocka where configure found it, else the stand-in; the one line that a test includes. */
#ifndef TESTS_SUPPORT_CMOCKA_H
#define TESTS_SUPPORT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef HAVE_CMOCKA
#include <cmocka.h>
#else
#include "support/minimocka.h"
#endif

#endif
