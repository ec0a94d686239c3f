/* SPDX-License-Identifier: MIT */
/* Debug mode: who holds what, and which calls are mistakes. */
#ifndef PLAIT_SYNC_DEBUG_H
#define PLAIT_SYNC_DEBUG_H

#include <plait/debug.h>
#include <plait/time.h>

#include "sync/hooked.h"
#include "sync/order.h"

/* A call of a public function. */
struct plait__debug_call {
    const struct plait__hooked_noun *noun;
    void *object;
    uint64_t arena_offset; /* 0: private */
    unsigned count;        /* levels, permits */
    const void *place;     /* where it returns to */
};

/* How things are held, as copied for a report. */
struct plait__debug_holder {
    const void *object;
    const char *noun, *function; /* "lock", "plait_lock_acquire" */
    const void *place;
    plait_time_t since;
    uint32_t tid;
    bool gone; /* the thread has ended, or is one of the parent's */
};

enum { PLAIT__HOLDERS_MAX = 8 };

/* What a report is made of (sync/report.c). */
struct plait__finding {
    enum plait_debug_kind kind;
    bool fatal;                 /* the program cannot go on */
    const char *function;       /* the public one */
    const char *noun;
    const void *object;
    const void *place;
    plait_time_t waited;        /* WAIT */
    unsigned holder_count;      /* all kinds but ORDER; may be more than there is room for */
    struct plait__debug_holder holders[PLAIT__HOLDERS_MAX];
    struct plait__order_cycle cycle; /* ORDER */
};

struct plait__debug_options {
    plait_time_t wait; /* 0: no reports of waits */
    bool lines, handover, abort_always, abort_never, off;
};

/* False: `text` is not as plait/debug.h says. */
bool plait__debug_parse(const char *text, struct plait__debug_options *options_out);

/*
 * The stations of an acquire. acquiring: 0, or EDEADLK: it must not be done; *limit_out: report it if it waits longer. waits: it has waited for so long. got: it
 * succeeded. Of a release: gives: 0, or EPERM: it must not be done. refused: it was refused, for the object is not the caller's.
 * Each does nothing where debug mode is off.
 */
int plait__debug_acquiring(const struct plait__debug_call *call, plait_time_t deadline, plait_time_t *limit_out);
void plait__debug_waits(const struct plait__debug_call *call, plait_time_t waited);
void plait__debug_got(const struct plait__debug_call *call);
int plait__debug_gives(const struct plait__debug_call *call);
void plait__debug_refused(const struct plait__debug_call *call);
void plait__debug_forget(void *object, uint64_t arena_offset);

/* Make the text, give it to the handler or print it, and abort if that must be. */
void plait__report(const struct plait__finding *finding, const struct plait__debug_options *options);

#endif
