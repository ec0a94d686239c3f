/* SPDX-License-Identifier: MIT */
/* Refusing system calls to the calling process, as an old kernel or a container's filter does. */
#ifndef TESTS_SUPPORT_REFUSE_H
#define TESTS_SUPPORT_REFUSE_H

#include <stddef.h>

/*
 * From now on, and for children and after exec, the system calls of these numbers (at most 8) fail with `error`. For this
 * thread and those it starts. 0, or an errno number: this system has no seccomp.
 */
int refuse_calls(const long *numbers, size_t count, int error);

#endif
