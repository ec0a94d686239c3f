/* SPDX-License-Identifier: MIT */
/* How a declaration is exported, inlined and checked by the compiler. */
#ifndef PLAIT_EXPORT_H
#define PLAIT_EXPORT_H

/*
 * Every public inline function is an exported symbol as well, so that other languages, and
 * programs compiled without optimisation, find everything in the library.
 *
 * A header says a function once as a prototype, with its contract, and once as a body:
 *
 *     PLAIT_API int plait_noun_verb(plait_noun_t *noun);
 *
 *     #ifndef PLAIT_NO_INLINE
 *     PLAIT_INLINE int plait_noun_verb(plait_noun_t *noun)
 *     {
 *         ...
 *     }
 *     #endif
 *
 * For a user, the body is "extern inline" in GNU's sense: the compiler may inline it and never
 * emits it; a call that is not inlined goes to the library. This holds in every C and C++ mode of
 * gcc and clang, which the "inline" of C99 does not. One file of the library, lib/base/inlines.c,
 * defines PLAIT_EMIT_INLINES before it includes <plait.h>: there the bodies are plain functions,
 * and that file is where the symbols come from.
 *
 * PLAIT_NO_INLINE leaves the prototypes alone. A program may define it; under ThreadSanitizer it is
 * defined here, so that all goes through functions in the library, where the annotations are.
 *
 * PLAIT_INLINE_ALWAYS is for the constructors with options: their bodies pass on the size of the options
 * as the program was compiled with it, so they are inlined even at -O0 and whatever PLAIT_NO_INLINE says.
 */

#define PLAIT_API __attribute__((__visibility__("default")))

#if defined(__SANITIZE_THREAD__)
#define PLAIT_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PLAIT_UNDER_TSAN 1
#endif
#endif

#if defined(PLAIT_EMIT_INLINES)
#undef PLAIT_NO_INLINE
/* Together, so that debug mode can tell them from a program that calls their slow paths (sync/hooked.h). */
#define PLAIT_INLINE PLAIT_API __attribute__((__section__("plait_inlines")))
#define PLAIT_INLINE_ALWAYS PLAIT_API
#else
#if defined(PLAIT_UNDER_TSAN) && !defined(PLAIT_NO_INLINE)
#define PLAIT_NO_INLINE 1
#endif
#define PLAIT_INLINE extern __inline__ __attribute__((__gnu_inline__))
#define PLAIT_INLINE_ALWAYS extern __inline__ __attribute__((__gnu_inline__, __always_inline__))
#endif

#if defined(__cplusplus)
#define PLAIT_BEGIN_DECLS extern "C" {
#define PLAIT_END_DECLS   }
#else
#define PLAIT_BEGIN_DECLS
#define PLAIT_END_DECLS
#endif

/*
 * A thread-local variable that inlined functions read. glibc sets static TLS aside for libraries that are loaded later, so the
 * fast model always works there; musl has none to spare for dlopen.
 */
#include <features.h>
#ifdef __GLIBC__
#define PLAIT_THREAD_LOCAL __attribute__((__tls_model__("initial-exec"))) __thread
#else
#define PLAIT_THREAD_LOCAL __thread
#endif

/* The caller must look at the result. */
#define PLAIT_NODISCARD __attribute__((__warn_unused_result__))

/* Parameter number `format` is a printf format for the parameters from number `first`. */
#define PLAIT_PRINTF(format, first) __attribute__((__format__(__printf__, format, first)))

#endif
