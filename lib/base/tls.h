/* SPDX-License-Identifier: MIT */
/* How this library declares its thread-local variables. */
#ifndef PLAIT_BASE_TLS_H
#define PLAIT_BASE_TLS_H

/*
 * glibc sets static TLS aside for libraries that are loaded later, so the fast model always works there
 * and saves a call on each access. musl has none to spare for dlopen: the general model.
 */
#include <features.h>
#ifdef __GLIBC__
#define PLAIT_TLS __attribute__((tls_model("initial-exec"))) _Thread_local
#else
#define PLAIT_TLS _Thread_local
#endif

#endif
