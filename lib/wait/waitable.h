/* SPDX-License-Identifier: MIT */
/* Waitable: what plait_wait_any asks of a noun's operation, so that it can take part. */
#ifndef PLAIT_WAIT_WAITABLE_H
#define PLAIT_WAIT_WAITABLE_H

#include <errno.h>
#include <stdbool.h>

#include <plait/wait.h>
#include <plait/wait_any.h>

#include "wait/ring.h"

/*
 * A noun joins with one constant table for each operation, in its own room, and a public function that makes
 * an entry which points to it:
 *
 *     static const struct plait_waitable acquiring = { attempt, enlist, delist, PLAIT__WATCH_ENLIST, NULL };
 *
 *     struct plait_wait_entry plait_any_noun_acquire(plait_noun_t *noun)
 *     {
 *         return (struct plait_wait_entry){ .how = &acquiring, .object = noun };
 *     }
 *
 * Nothing else knows of it, so who links statically gets only the nouns that are used.
 */

/* One entry during one call. Zeroed but for `entry` when the call begins. */
struct plait__waiting {
    const struct plait_wait_entry *entry; /* const */
    uint64_t kept;                        /* the noun's own, if it has to remember something between its functions */
    plait_time_t until;                   /* set by enlist: sleep no longer than this, and attempt again; 0: for ever */
    bool is_try;                          /* const: there is one attempt, and no sleep */
    bool tried;                           /* an attempt of this call has been made already */
    bool enlisted;                        /* enlist has been called, and delist not yet */
    bool can_poll;                        /* the caller can sleep on a descriptor beside its words */
    bool polls;                           /* set by enlist: it shall, on this one, and the word is plait__never */
    struct plait__poll poll;
    bool unwoken;                         /* set by enlist: nobody will wake for this one, look again every few milliseconds */
};

/* Can a watch (exec/watch.c) look at it, without performing it? */
enum plait__watchable {
    PLAIT__UNWATCHED,     /* no */
    PLAIT__WATCH_ENLIST,  /* enlist tells whether the operation is possible, and needs no attempt before */
    PLAIT__WATCH_ATTEMPT, /* the attempt but looks, with a buffer of NULL; then enlist, as in plait_wait_any */
};

struct plait_waitable {
    /*
     * Do it if that takes no waiting. Returns what the public call would; EAGAIN: it would wait. When the caller is enlisted and
     * the answer is another than EAGAIN, the attempt has done what delist would have done, or left it undone with reason (the
     * lock that is held now has its WANTED mark).
     */
    int (*attempt)(struct plait__waiting *waiting);

    /*
     * Announce that the caller is about to sleep, as the noun's own wait would, and say on which word, with which value,
     * PLAIT_SHARED or not. From then on whoever makes the operation possible changes the word and wakes it. Called again
     * before each further sleep of the call, with `enlisted` set: a wake-up may have taken the announcement off. Returns false:
     * do not sleep, attempt again (the caller counts as enlisted all the same). Where there is nothing that is woken, it sets
     * `unwoken` and leaves the word to plait__never.
     */
    bool (*enlist)(struct plait__waiting *waiting, struct plait_wait_word *word_out);

    /*
     * Take the announcement back; the operation was not performed, and will not be. A wake-up may have been spent on the caller:
     * if the object would let another sleeper go on, wake that. NULL: nothing to do, for nouns that always wake all.
     */
    void (*delist)(struct plait__waiting *waiting);

    enum plait__watchable watch;

    /* For a watch, which makes no attempt before it enlists: EINVAL: the object has no such operation. NULL: every object has it. */
    int (*check)(const struct plait_wait_entry *entry);
};

/* A private word that is 0 and never changes. */
extern const uint32_t plait__never;

/* For attempts made of the public call with PLAIT_NOW: what means "not now" there. */
static inline int plait__not_now(int err)
{
    return err == ETIMEDOUT || err == ECANCELED ? EAGAIN : err;
}

#endif
