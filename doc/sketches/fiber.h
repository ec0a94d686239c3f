/* SPDX-License-Identifier: MIT */
/* Sketch. Fiber: a function with a stack of its own, and what runs many of them in one thread. */
#ifndef PLAIT_FIBER_H
#define PLAIT_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_fiber_t - runs until it switches, waits or ends; never at the same time as another of its
 * thread.
 *
 * By hand:
 *
 *     void *numbers(void *first)                        // yields to who switched to it
 *     {
 *         for (intptr_t n = (intptr_t)first;; n++)
 *             if (plait_fiber_switch(plait_fiber_parent(NULL), (void *)n, NULL) != 0)
 *                 return NULL;                          // thrown into
 *     }
 *
 *     plait_fiber_t *f;
 *     void *n;
 *     plait_fiber_new(&f, &(struct plait_fiber_opts){ .target = numbers });
 *     plait_fiber_switch(f, (void *)1, &n);             // n is 1
 *     plait_fiber_switch(f, NULL, &n);                  // n is 2
 *     plait_fiber_free(f);                              // throws ECANCELED into it, which ends it
 *
 * By the scheduler: plait_fiber_spawn, and from then on whatever waits - a lock, a queue,
 * plait_sleep - lets the others run.
 *
 *     for (int i = 0; i < 3; i++)
 *         plait_fiber_spawn(&f[i], &(struct plait_fiber_opts){ .target = fetch, .arg = url[i] });
 *     plait_fiber_joinall(f, 3, NULL, plait_after(5));
 *
 * A fiber belongs to the thread that first ran it and never moves. Every thread is the fiber that
 * it began as, its main fiber, which has no parent and no handle to free. Dead fibers keep their
 * result until freed.
 *
 * Shared locks are owned by a thread as far as the kernel knows, and by a fiber as far as the lock
 * does: a sibling that wants one waits, and may not release it. A fiber that ends while it holds a
 * lock is a mistake (abort in debug mode); the lock stays held until its thread ends, which then
 * counts as a death.
 */
typedef struct plait_fiber plait_fiber_t;

/* Options; zero is the default of each but target. */
struct plait_fiber_opts {
    void *(*target)(void *arg); /* new: gets the value of the first switch; spawn: gets arg */
    void *arg;
    const char *name;      /* NULL: "fiber-N"; copied */
    size_t stack_size;     /* bytes; 0: 64 KiB; a page that faults lies below */
    plait_fiber_t *parent; /* new: where its result goes; NULL: the caller */
};

/* Make a fiber that does not run yet. EINVAL: no target; a parent of another thread. ENOMEM. */
PLAIT_API int plait_fiber_new_sized(plait_fiber_t **fiber_out, const struct plait_fiber_opts *opts,
                                    size_t opts_size);

PLAIT_INLINE_ALWAYS int plait_fiber_new(plait_fiber_t **fiber_out,
                                        const struct plait_fiber_opts *opts)
{
    return plait_fiber_new_sized(fiber_out, opts, sizeof(struct plait_fiber_opts));
}

/*
 * Run `fiber` from here on, and give it `value`: the argument of its function at first, later what
 * its own switch receives. The caller stands still until somebody switches to it, or its child
 * ends; *value_out (may be NULL) then receives that one's value or result. A dead fiber's nearest
 * living ancestor is run in its place. Returns 0, or what was thrown into the caller meanwhile; or
 * at once, and nothing done:
 *   EPERM  it belongs to another thread
 *   EBUSY  it stands in a wait, from which only the scheduler takes it
 */
PLAIT_API int plait_fiber_switch(plait_fiber_t *fiber, void *value, void **value_out);

/*
 * As switch, but the switch or wait in which the fiber stands returns `code` (a positive number).
 * One that has not started ends at once, with NULL. EINVAL: code is not positive.
 */
PLAIT_API int plait_fiber_throw(plait_fiber_t *fiber, int code, void **value_out);

/* The running fiber. Its parent, or that of `fiber` if not NULL; NULL for a main fiber. Lent. */
PLAIT_API plait_fiber_t *plait_fiber_current(void);
PLAIT_API plait_fiber_t *plait_fiber_parent(const plait_fiber_t *fiber);

/* Give it another parent. EINVAL: a cycle, or a fiber of another thread. */
PLAIT_API int plait_fiber_set_parent(plait_fiber_t *fiber, plait_fiber_t *parent);

/* Has it begun; has it ended? */
PLAIT_API bool plait_fiber_is_started(const plait_fiber_t *fiber);
PLAIT_API bool plait_fiber_is_dead(const plait_fiber_t *fiber);

/* Its name; lives as long as the handle. */
PLAIT_API const char *plait_fiber_name(const plait_fiber_t *fiber);

/*
 * Drop the handle; NULL is allowed. A spawned one runs on. One made by new that stands in a switch
 * gets ECANCELED thrown; EBUSY, and nothing done: it did not end at that, or it is the caller or
 * one of its ancestors.
 */
PLAIT_API int plait_fiber_free(plait_fiber_t *fiber);

/* The scheduler: one for each thread, at work whenever a fiber of the thread waits. */

/*
 * Make a fiber and let the scheduler of this thread run it, soon; its parent is the scheduler.
 * *fiber_out may be NULL: nobody cares for the result. Errors as new.
 */
PLAIT_API int plait_fiber_spawn_sized(plait_fiber_t **fiber_out,
                                      const struct plait_fiber_opts *opts, size_t opts_size);

PLAIT_INLINE_ALWAYS int plait_fiber_spawn(plait_fiber_t **fiber_out,
                                          const struct plait_fiber_opts *opts)
{
    return plait_fiber_spawn_sized(fiber_out, opts, sizeof(struct plait_fiber_opts));
}

/* Let the others run once. 0; ECANCELED: the caller's cancel token is set. */
PLAIT_API int plait_fiber_yield(void);

/*
 * Wait until it has ended, from any thread or fiber; *result_out (may be NULL) receives what its
 * function returned. ETIMEDOUT, ECANCELED. EDEADLK: the caller is this fiber. EINVAL: it was not
 * spawned.
 */
PLAIT_API int plait_fiber_join(plait_fiber_t *fiber, void **result_out, plait_time_t deadline);

/*
 * Wait until all `count` have ended; *done_out (may be NULL) receives how many have. Errors as
 * join.
 */
PLAIT_API int plait_fiber_joinall(plait_fiber_t *const *fibers, size_t count, size_t *done_out,
                                  plait_time_t deadline);

/*
 * Have the wait in which it stands, or its next one, return ECANCELED once; from any thread. 0,
 * also if it has ended. Wait for its end with join.
 */
PLAIT_API int plait_fiber_kill(plait_fiber_t *fiber);

/*
 * plait_group_t - fibers that are spawned, joined and killed together; with a limit, gevent's Pool.
 *
 *     plait_group_t *group;
 *     plait_group_new(&group, &(struct plait_group_opts){ .limit = 10 });
 *     while (next_url(&url))
 *         plait_group_spawn(group, &(struct plait_fiber_opts){ .target = fetch, .arg = url },
 *                           PLAIT_FOREVER);
 *     plait_group_join(group, PLAIT_FOREVER);
 *     plait_group_free(group);
 */
typedef struct plait_group plait_group_t;

/* Options of plait_group_new; zero is the default of each. */
struct plait_group_opts {
    size_t limit; /* fibers at one time; 0: no limit */
};

/* Make an empty group. ENOMEM. */
PLAIT_API int plait_group_new_sized(plait_group_t **group_out, const struct plait_group_opts *opts,
                                    size_t opts_size);

PLAIT_INLINE_ALWAYS int plait_group_new(plait_group_t **group_out,
                                        const struct plait_group_opts *opts)
{
    return plait_group_new_sized(group_out, opts, sizeof(struct plait_group_opts));
}

/*
 * Spawn a fiber in the group, waiting until the deadline while it is full. Errors as spawn;
 * ETIMEDOUT, ECANCELED.
 */
PLAIT_API int plait_group_spawn_sized(plait_group_t *group, const struct plait_fiber_opts *opts,
                                      size_t opts_size, plait_time_t deadline);

PLAIT_INLINE_ALWAYS int plait_group_spawn(plait_group_t *group, const struct plait_fiber_opts *opts,
                                          plait_time_t deadline)
{
    return plait_group_spawn_sized(group, opts, sizeof(struct plait_fiber_opts), deadline);
}

/* Wait until none is left. ETIMEDOUT, ECANCELED. EDEADLK: the caller is in it. */
PLAIT_API int plait_group_join(plait_group_t *group, plait_time_t deadline);

/* Kill all that are in it now, but for the caller. Always 0. */
PLAIT_API int plait_group_kill(plait_group_t *group);

/* How many are in it. */
PLAIT_API size_t plait_group_size(const plait_group_t *group);

/* Drop it; NULL is allowed. EBUSY, and nothing done: it is not empty. */
PLAIT_API int plait_group_free(plait_group_t *group);

PLAIT_END_DECLS

#endif
