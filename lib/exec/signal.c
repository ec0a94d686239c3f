/* SPDX-License-Identifier: MIT */
/* Signal: what has arrived and has not been taken yet. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>

#include <plait/signal.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/options.h"
#include "base/races.h"
#include "exec/signal.h"
#include "wait/waitable.h"

/*
 * How it works
 *
 * All objects stand in a list; the feeder (signal_feed.c) hands each signal that arrives to those that it is for. An object
 * keeps what has arrived in a ring with room for every standard signal once and `depth` real-time ones; of a standard
 * signal that is in it already only the information is replaced. So no signal is lost because of others. One lock guards
 * everything: signals are rare.
 *
 *     word    how many are in the ring; 0: none, and who wants one sleeps on it
 *
 * No wake is lost: a waiter has found the ring empty under the lock, sleeps while the word is 0, and whoever puts
 * something in stores the word first and wakes all then. All, because a waiter that is woken may wait for other objects too and
 * have been served by them.
 *
 * E1 arrive: the store of the word releases, sleepers acquire it; what they take they read under the lock.
 *
 * Fork: the lock is held over it. In the child the objects are emptied, as pending signals are not inherited, and
 * `epoch` says that there is no feeder; the first call that waits starts one.
 */

enum { STANDARD_MAX = 31, DEPTH_DEFAULT = 64, DEPTH_MAX = 65536 };

struct plait_signal {
    uint32_t word;               /* atomic: `used`, for sleepers (E1); written under the lock */
    unsigned depth;              /* const after new */
    sigset_t set;                /* const after new */
    plait_signal_t *next;        /* guarded by lock */
    plait_signal_t **link;       /* guarded by lock: what points to it */
    unsigned long long lost;     /* guarded by lock */
    unsigned long long counts[NSIG]; /* guarded by lock: by number; 0: all */
    unsigned realtime;           /* guarded by lock: real-time signals in the ring */
    unsigned first, used, size;  /* guarded by lock: the ring; size is const after new */
    struct plait_signal_info ring[];            /* guarded by lock */
};

pthread_mutex_t plait__signal_lock = PTHREAD_MUTEX_INITIALIZER;

static plait_signal_t *objects; /* guarded by lock */
static uint32_t epoch;          /* guarded by lock: of the process whose signals the objects hold */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lock(void) { pthread_mutex_lock(&plait__signal_lock); }
static void unlock(void) { pthread_mutex_unlock(&plait__signal_lock); }

/* ---- Arriving; with the lock held ---------------------------------------------------------- */

static struct plait_signal_info *place(plait_signal_t *signal, unsigned index)
{
    return &signal->ring[(signal->first + index) % signal->size];
}

static struct plait_signal_info *find(plait_signal_t *signal, int number)
{
    for (unsigned i = 0; i < signal->used; i++)
        if (place(signal, i)->number == number)
            return place(signal, i);
    return NULL;
}

static void arrive(plait_signal_t *signal, const struct plait_signal_info *info)
{
    bool is_standard = info->number <= STANDARD_MAX;
    struct plait_signal_info *there = is_standard ? find(signal, info->number) : NULL;

    signal->counts[0]++;
    signal->counts[info->number]++;
    if (there) {
        *there = *info;
        return;
    }
    if (!is_standard && signal->realtime == signal->depth) {
        signal->lost++;
        return;
    }
    signal->realtime += !is_standard;
    *place(signal, signal->used++) = *info;
    store_release(&signal->word, signal->used); /* E1 */
    plait_wake(&signal->word, UINT_MAX, 0);
}

void plait__signal_deliver(const struct plait_signal_info *info)
{
    for (plait_signal_t *signal = objects; signal; signal = signal->next)
        if (sigismember(&signal->set, info->number) == 1)
            arrive(signal, info);
}

/* The first in the ring; it is not empty. */
static void take(plait_signal_t *signal, struct plait_signal_info *info_out)
{
    const struct plait_signal_info *info = place(signal, 0);

    signal->realtime -= info->number > STANDARD_MAX;
    if (info_out)
        *info_out = *info;
    signal->first = (signal->first + 1) % signal->size;
    store_release(&signal->word, --signal->used);
}

/* ---- Feeding; with the lock held ------------------------------------------------------------ */

/* In a child: nothing has arrived yet. */
static void empty_all(void)
{
    for (plait_signal_t *signal = objects; signal; signal = signal->next) {
        signal->used = signal->realtime = 0;
        signal->lost = 0;
        for (int i = 0; i < NSIG; i++)
            signal->counts[i] = 0;
        store_release(&signal->word, 0);
    }
}

/* Tell the feeder what is wanted now, which starts it if need be. */
static int feed_all(void)
{
    sigset_t wanted;

    sigemptyset(&wanted);
    for (const plait_signal_t *signal = objects; signal; signal = signal->next)
        for (int number = 1; number < NSIG; number++)
            if (sigismember(&signal->set, number) == 1)
                sigaddset(&wanted, number);
    return plait__feeder_want(&wanted);
}

static int ensure_feeder(void)
{
    if (plait__feeder_is_here() || !objects)
        return 0;
    if (epoch != plait__fork_epoch_renew()) {
        epoch = plait__fork_epoch_renew();
        empty_all();
    }
    return feed_all();
}

static void forget_after_fork(void)
{
    plait__feeder_forget();
    epoch = plait__fork_epoch_renew();
    empty_all();
    unlock();
}

static void register_handlers(void)
{
    pthread_atfork(lock, unlock, forget_after_fork);
}

/* ---- The public calls ------------------------------------------------------------------------ */

/* One that exists, is no fault's, and is not libc's own. */
static bool can_be_waited_for(int number)
{
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
        return false;
    default:
        return number > 0 && number <= SIGRTMAX && (number <= STANDARD_MAX || number >= SIGRTMIN);
    }
}

static int read_set(const int *numbers, sigset_t *set_out)
{
    sigemptyset(set_out);
    if (!numbers || numbers[0] == 0)
        return EINVAL;
    for (; *numbers; numbers++) {
        if (!can_be_waited_for(*numbers))
            return EINVAL;
        sigaddset(set_out, *numbers);
    }
    return 0;
}

static bool are_blocked(const sigset_t *set)
{
    sigset_t blocked;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(set, number) == 1 && sigismember(&blocked, number) != 1)
            return false;
    return true;
}

int plait_signal_block(const int *signals)
{
    sigset_t set;
    int err = read_set(signals, &set);

    return err ? err : pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void enlist(plait_signal_t *signal)
{
    signal->next = objects;
    signal->link = &objects;
    if (objects)
        objects->link = &signal->next;
    objects = signal;
}

static void delist(plait_signal_t *signal)
{
    *signal->link = signal->next;
    if (signal->next)
        signal->next->link = signal->link;
}

int plait_signal_new_sized(plait_signal_t **signal_out, const struct plait_signal_opts *given, size_t given_size)
{
    struct plait_signal_opts opts;
    plait_signal_t *signal;
    sigset_t set;
    unsigned size;
    int err;

    if (!signal_out || plait__options_read(&opts, sizeof opts, given, given_size) || opts.depth > DEPTH_MAX ||
        read_set(opts.signals, &set) || !are_blocked(&set))
        return EINVAL;
    if (opts.depth == 0)
        opts.depth = DEPTH_DEFAULT;
    size = STANDARD_MAX + opts.depth;
    signal = calloc(1, sizeof *signal + size * sizeof signal->ring[0]);
    if (!signal)
        return ENOMEM;
    signal->depth = opts.depth;
    signal->set = set;
    signal->size = size;
    plait__races_once(&once, register_handlers);
    lock();
    if (!objects)
        epoch = plait__fork_epoch_renew();
    err = ensure_feeder(); /* of the others, if this is a child */
    enlist(signal);
    if (err == 0)
        err = feed_all();
    if (err)
        delist(signal);
    unlock();
    if (err)
        free(signal);
    else
        *signal_out = signal;
    return err;
}

/* Take one if there is one. *err_out: taken (0), or why there will be none. */
static bool try_to_take(plait_signal_t *signal, struct plait_signal_info *info_out, int *err_out)
{
    bool taken;

    lock();
    *err_out = ensure_feeder();
    taken = *err_out == 0 && signal->used > 0;
    if (taken)
        take(signal, info_out);
    unlock();
    return *err_out || taken;
}

int plait_signal_wait(plait_signal_t *signal, struct plait_signal_info *info_out, plait_time_t deadline)
{
    int err, wait_err = 0;

    for (;;) {
        if (try_to_take(signal, info_out, &err))
            return err;
        if (wait_err)
            return wait_err;
        wait_err = plait_wait(&signal->word, 0, 0, deadline); /* E1 */
    }
}

static int attempt_wait(struct plait__waiting *waiting)
{
    int err;

    return try_to_take(waiting->entry->object, waiting->entry->buffer, &err) ? err : EAGAIN;
}

/* An arrival wakes all: nothing to announce. */
static bool enlist_wait(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_signal_t *signal = waiting->entry->object;

    *word_out = (struct plait_wait_word){ &signal->word, 0, 0 };
    return load_acquire(&signal->word) == 0; /* E1 */
}

struct plait_wait_entry plait_any_signal_wait(plait_signal_t *signal, struct plait_signal_info *info_out)
{
    static const struct plait_waitable waiting = { attempt_wait, enlist_wait, NULL, PLAIT__WATCH_ENLIST, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = signal, .buffer = info_out };
}

unsigned long long plait_signal_count(const plait_signal_t *signal, int number)
{
    unsigned long long count = 0;

    lock();
    if (number >= 0 && number < NSIG)
        count = signal->counts[number];
    unlock();
    return count;
}

unsigned long long plait_signal_lost(const plait_signal_t *signal)
{
    unsigned long long lost;

    lock();
    lost = signal->lost;
    unlock();
    return lost;
}

int plait_signal_free(plait_signal_t *signal)
{
    struct plait__feeder *feeder = NULL;

    if (!signal)
        return 0;
    lock();
    delist(signal);
    if (!objects)
        feeder = plait__feeder_detach();
    else if (plait__feeder_is_here())
        feed_all();
    unlock();
    plait__feeder_end(feeder);
    free(signal);
    return 0;
}
