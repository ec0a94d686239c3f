/* SPDX-License-Identifier: MIT */
/* Sketch. Selector: which of many descriptors and objects are ready. */
#ifndef PLAIT_SELECTOR_H
#define PLAIT_SELECTOR_H

#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/process.h>
#include <plait/queue.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_selector_t - a set of descriptors and objects, each with what the caller wants to know of
 * it and a pointer of the caller's.
 *
 *     plait_selector_t *selector;
 *     plait_selector_new(&selector, &(struct plait_selector_opts){ 0 });
 *     plait_selector_register(selector, listener, PLAIT_READ, accept_client);
 *     plait_selector_register_queue(selector, outgoing, PLAIT_READ, send_next);
 *
 *     struct plait_selected ready[64];
 *     size_t count;
 *     while (plait_selector_select(selector, ready, 64, &count, PLAIT_FOREVER) == 0)
 *         for (size_t i = 0; i < count; i++)
 *             ((handler *)ready[i].data)(&ready[i]);
 *
 * It tells and does not do: what is ready may be gone when the caller comes for it, if others come
 * as well; so use descriptors that do not block, and PLAIT_NOW.
 *
 * Level triggered: told again each time as long as it is so. With PLAIT_EDGE told once for each
 * change. All calls from any thread, also while another one selects; in a fiber, the others run
 * meanwhile. A descriptor is taken out before it is closed; one that was closed all the same may
 * still be unregistered.
 */
typedef struct plait_selector plait_selector_t;

/* What to tell, and how. */
enum plait_events {
    PLAIT_READ =
        1u
        << 0, /* a descriptor: readable, or at its end; a queue: not empty, or closed; else: done */
    PLAIT_WRITE = 1u << 1,  /* writable; a queue: not full, or closed */
    PLAIT_EXCEPT = 1u << 2, /* a descriptor's exceptional case, such as urgent data */
    PLAIT_EDGE = 1u << 3,   /* each change once */
    PLAIT_ONCE = 1u << 4    /* once, then nothing until modified */
};

enum plait_selector_method {
    PLAIT_SELECTOR_BEST = 0, /* chosen by the machine */
    PLAIT_SELECTOR_SELECT = 1,
    PLAIT_SELECTOR_POLL = 2,
    PLAIT_SELECTOR_EPOLL = 3
};

/* Options of plait_selector_new; zero is the default of each. */
struct plait_selector_opts {
    enum plait_selector_method method;
};

/* One that is ready. */
struct plait_selected {
    int fd;             /* -1: an object */
    unsigned events;    /* which of those asked for; a descriptor's error sets them all */
    const void *object; /* the queue, future or process, else NULL */
    void *data;         /* as registered */
};

/*
 * Make an empty one. EINVAL: an unknown method. ENOSYS: this machine has not got it. ENOMEM,
 * EMFILE, ENFILE.
 */
PLAIT_API int plait_selector_new_sized(plait_selector_t **selector_out,
                                       const struct plait_selector_opts *opts, size_t opts_size);

PLAIT_INLINE_ALWAYS int plait_selector_new(plait_selector_t **selector_out,
                                           const struct plait_selector_opts *opts)
{
    return plait_selector_new_sized(selector_out, opts, sizeof(struct plait_selector_opts));
}

/*
 * Drop it; NULL is allowed. EBUSY, and nothing done: somebody selects. What is registered is not
 * touched.
 */
PLAIT_API int plait_selector_free(plait_selector_t *selector);

/*
 * Put a descriptor in. EEXIST: it is in. EINVAL: no events or unknown ones, PLAIT_EDGE with a
 * method that cannot; not a descriptor, or one that cannot be waited for. ENOMEM.
 */
PLAIT_API int plait_selector_register(plait_selector_t *selector, int fd, unsigned events,
                                      void *data);

/* Change events and data of one that is in. ENOENT: it is not in. EINVAL as register. */
PLAIT_API int plait_selector_modify(plait_selector_t *selector, int fd, unsigned events,
                                    void *data);

/* Take it out. ENOENT: it is not in. */
PLAIT_API int plait_selector_unregister(plait_selector_t *selector, int fd);

/*
 * The same for objects; they must outlive their registration. modify: register again after
 * unregister.
 */
PLAIT_API int plait_selector_register_queue(plait_selector_t *selector, plait_queue_t *queue,
                                            unsigned events, void *data);
PLAIT_API int plait_selector_register_future(plait_selector_t *selector, plait_future_t *future,
                                             void *data);
PLAIT_API int plait_selector_register_process(plait_selector_t *selector, plait_process_t *process,
                                              void *data);
PLAIT_API int plait_selector_unregister_object(plait_selector_t *selector, const void *object);

/*
 * Wait until something is ready and tell up to `max` of it: ready[0..*count_out). Returns 0
 * (*count_out may be 0 after plait_selector_wake), or with *count_out 0:
 *   ETIMEDOUT  nothing by the deadline; with PLAIT_NOW: nothing is ready
 *   ECANCELED  the caller's cancel token was set first
 *   EINVAL     max is 0
 */
PLAIT_API int plait_selector_select(plait_selector_t *selector, struct plait_selected *ready,
                                    size_t max, size_t *count_out, plait_time_t deadline);

/* Have the select that waits, or else the next one, return. Always 0. Async-signal-safe. */
PLAIT_API int plait_selector_wake(plait_selector_t *selector);

/* How many are in it; what it works with. */
PLAIT_API size_t plait_selector_size(const plait_selector_t *selector);
PLAIT_API enum plait_selector_method plait_selector_method(const plait_selector_t *selector);

PLAIT_END_DECLS

#endif
