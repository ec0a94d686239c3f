/* SPDX-License-Identifier: MIT */
/* Debug mode: reports of deadlocks to come, and of other misuse of locks. */
#ifndef PLAIT_DEBUG_H
#define PLAIT_DEBUG_H

#include <stdbool.h>

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * A process in debug mode watches every object of its own that is held: locks, rlocks, and what else says so. It reports
 *
 *   ORDER     an acquire, with another lock held, that has been made in the other order before, directly or by way of
 *             further locks: two threads that do both at one time deadlock. Reported at the acquire and before
 *             it waits, whether or not it would have to. Each pair of locks is reported once. A try (PLAIT_NOW) waits for
 *             nobody, so it is never part of an order; what it acquired is.
 *   SELF      an acquire without deadline of a private lock that the caller holds, which would wait for ever; of
 *             others that the caller holds and that answer EDEADLK
 *   STRANGER  a release by a caller that does not hold it. The release of a private lock by another thread than acquired it
 *             is in order without debug mode, and taken for a mistake in it; see `handover`.
 *   WAIT      an acquire that has waited for as long as was set (`wait`), with who holds the object, and since where
 *   EXIT      a thread ends and holds something
 *
 * A report says who did what at which place in the program: module and offset always, the function's name where the
 * module's file tells, and the line if asked for (`lines`). It goes to the standard error output, or to a handler. After
 * SELF and STRANGER of private locks, which cannot go on, the program aborts.
 *
 * Debug mode begins before main if the environment has PLAIT_DEBUG, set to the options below (not in
 * set-user-ID programs), or in a library configured with --enable-debug; else by plait_debug_start. What was acquired before is not
 * known to it. A child of fork is in debug mode if its parent was, and knows what its parent knew. Options, separated by commas:
 *
 *     wait=SECONDS  report waits that last longer; 0: none; without this, 10
 *     lines         name source lines, by running addr2line
 *     handover      private locks may be released by any thread: no STRANGER, and no SELF, of private locks
 *     abort         abort after every report
 *     report        abort after none: SELF answers EDEADLK, STRANGER answers EPERM, and nothing was done
 *     off           no debug mode
 *
 * An object is known by its address: where memory is used for another object, init or fini make the old one's
 * history forgotten. While it is off, debug mode costs nothing that can be measured; on, an acquire takes well below a microsecond more.
 */
enum plait_debug_kind {
    PLAIT_DEBUG_ORDER = 1,
    PLAIT_DEBUG_SELF,
    PLAIT_DEBUG_STRANGER,
    PLAIT_DEBUG_WAIT,
    PLAIT_DEBUG_EXIT
};

/* One report; valid during the call of the handler. */
struct plait_debug_report {
    enum plait_debug_kind kind;
    const char *text;     /* what would have been printed: lines, the last one ended too */
    const char *function; /* the public function that was called; EXIT: the one that had acquired */
    const void *object;   /* the one acquired or released; EXIT: the first that is held */
    const void *place;    /* where that call returns to */
};

/*
 * Called by the thread that the report is about, with no lock of libplait held. It may use libplait, and what it
 * does is not watched. Where the program cannot go on, it aborts when the handler returns.
 */
typedef void plait_debug_handler_fn(const struct plait_debug_report *report, void *arg);

/*
 * Begin debug mode, or change its options; what is not named has its default, also if it had been set before. NULL or "":
 * all defaults. EINVAL, and nothing done: unknown or malformed options. ENOMEM.
 */
PLAIT_API int plait_debug_start(const char *options);

/* End debug mode, and forget what it knew. */
PLAIT_API void plait_debug_stop(void);

/* Is the process in debug mode? */
PLAIT_API bool plait_debug_is_on(void);

/* Give reports to `handler`, with `arg`; NULL: to the standard error output, as at first. */
PLAIT_API void plait_debug_set_handler(plait_debug_handler_fn *handler, void *arg);

PLAIT_END_DECLS

#endif
