/* SPDX-License-Identifier: MIT */
/* Ring: a sleep on words and descriptors at once, where the kernel's io_uring can do it. */
#ifndef PLAIT_WAIT_RING_H
#define PLAIT_WAIT_RING_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/wait.h>

/* A descriptor that ends the sleep when poll(2) would. */
struct plait__poll {
    int fd;
    short events; /* poll's */
};

/* The most of them in one sleep. */
#define PLAIT__POLLS_MAX 60

struct plait__polls {
    struct plait__poll *list;
    size_t count; /* not 0 */
};

/* Can the calling thread sleep in this way? Makes its ring, when asked for the first time. */
bool plait__ring_is_usable(void);

/*
 * Sleep until a word is not as expected or is woken, or a descriptor is ready, as futex_waitv and poll would. There is a word at least,
 * and at most PLAIT__WAIT_WORDS_MAX. 0: look again; *index_out as it was if no word is known to be the reason. ETIMEDOUT. ENOSYS: it
 * cannot be done, now or ever; nothing was done.
 */
int plait__ring_wait(const struct plait_wait_word *words, size_t count, const struct plait__polls *polls,
                     plait_time_t deadline, size_t *index_out);

#endif
