/* SPDX-License-Identifier: MIT */
/* Members: futures that somebody keeps until they are done. */
#ifndef PLAIT_EXEC_MEMBERS_H
#define PLAIT_EXEC_MEMBERS_H

#include <pthread.h>

#include "exec/future.h"

struct plait__members;

struct plait__member {
    struct plait__callback callback;
    struct plait__members *set;          /* const */
    plait_future_t *future;              /* const: a reference is held */
    struct plait__member *next, **link;  /* guarded by lock: of the list that it is in */
};

struct plait__member_list {
    struct plait__member *first, **last;
};

/* The first member of who keeps them. */
struct plait__members {
    pthread_mutex_t lock;
    struct plait__member_list waiting; /* guarded by lock: those that are not done */
    bool is_ending;                    /* guarded by lock: fini waits for callbacks */
    uint64_t count;                    /* atomic; changed with the lock held: the keeper's to lower */
    uint32_t changes;                  /* atomic; changed with the lock held; slept on */
    /* Const: it is done, and in no list any more: the keeper's. With the lock held. */
    void (*left)(struct plait__members *set, struct plait__member *member);
};

void plait__members_init(struct plait__members *set,
                         void (*left)(struct plait__members *set, struct plait__member *member));

/* Take all back that are not done; they are gone. Nobody else uses the set any more. */
void plait__members_fini(struct plait__members *set);

/* Put one in. ENOMEM. */
int plait__members_add(struct plait__members *set, plait_future_t *future);

/* The same in two steps, of which the second cannot fail. NULL: no memory. Until then free gives it back. */
struct plait__member *plait__member_new(void);
void plait__members_adopt(struct plait__members *set, struct plait__member *member, plait_future_t *future);

/* The first of those that are not done, which goes to the end of the line, with a reference. NULL: there is none. */
plait_future_t *plait__members_next(struct plait__members *set);

/* The calling worker runs one of those that are not done, if it can; each is tried once. */
bool plait__members_help(struct plait__members *set);

/* With the lock held: are there some that are not done, and all of them a parent's? Nobody will end them here. */
bool plait__members_are_orphans(const struct plait__members *set);

/* Somebody who sleeps, or all of them, shall look again. With the lock held: the set may be freed as soon as it is not. */
void plait__members_wake(struct plait__members *set, unsigned sleepers);

/* Lists, with the lock held, and the end of one that is in none. */
void plait__members_append(struct plait__member_list *list, struct plait__member *member);
void plait__members_cut(struct plait__member_list *list, struct plait__member *member);
void plait__member_free(struct plait__member *member);

#endif
