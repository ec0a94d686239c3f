/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A watcher is a thread that does for many watches what plait_wait_any does for one call: it enlists with the objects of those
 * that are armed, and sleeps on all their words and one of its own, the kick. But it performs nothing. If an object lets it not
 * sleep (enlist), it leaves that as one who gives up (delist: a wake that was spent on it goes on to the next), writes the
 * descriptor, and forgets the watch until that is armed again. After each sleep it looks at all that are armed, since a
 * word may change for other reasons.
 *
 * Some nouns tell by enlist whether the operation is possible; others need an attempt before, which for them is but a look
 * (waitable.h). Shared objects are looked at again after each slice of time.
 *
 * No wake is lost: arm clears the descriptor, and then looks at the object itself, or has the watcher do so: it kicks it, and the watcher
 * enlists after it has seen the kick's new value. What becomes possible after that wakes the word.
 *
 * Freeing: the watcher may be about to sleep on the word of an object that shall go. So free takes the watch out of the list,
 * kicks, and waits until the watcher has come round: `turns` counts its rounds, at the beginning of each of which it reads the
 * list afresh, under the lock. A watcher without watches ends; its place is used again.
 *
 * One lock guards all, also while an object is looked at, which may take locks of its noun. It is not held over a fork, where it
 * would be waited for with those held; the child makes it anew, forgets the watchers, of which it has none, and knows its
 * parent's watches by the fork epoch.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/watch.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "exec/helper.h"
#include "wait/waitable.h"
#include "wait/waiting.h"

enum { WATCHES = 500, WATCHERS = 64, LOOK = 16 /* milliseconds */ };

/* What one sleep is on. */
struct sleep {
    struct plait_wait_word words[WATCHES + 1 + PLAIT_CANCEL_DEPTH_MAX]; /* as plait__wait_words wants them */
    size_t count;
    plait_time_t until, slice;
    bool shared, unwoken;
};

struct watcher {
    uint32_t kick;  /* atomic: goes on with each change that the watcher must see; it sleeps on it */
    uint32_t turns; /* atomic: rounds; who frees a watch sleeps on it */
    bool runs;      /* guarded by lock, as all that follows */
    unsigned count;
    plait_watch_t *watches[WATCHES];
    struct sleep sleep; /* the watcher's own */
};

struct plait_watch {
    struct plait_wait_entry entry; /* const */
    int fd;                        /* const */
    uint32_t epoch;                /* const: of the process whose it is */
    struct watcher *watcher;       /* const */
    unsigned place;                /* guarded by lock, as all that follows: in the watcher's list */
    bool armed;
    struct plait__waiting waiting; /* while armed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct watcher *watchers[WATCHERS]; /* guarded by lock; never freed */

/* ---- Fork ------------------------------------------------------------------------------------------------------ */

static void forget_after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    for (int i = 0; i < WATCHERS; i++)
        watchers[i] = NULL;
}

static void register_handlers(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

static bool is_ours(const plait_watch_t *watch)
{
    return watch->epoch == plait__fork_epoch_renew();
}

/* ---- Looking, with the lock held ------------------------------------------------------------------------------- */

static bool look(plait_watch_t *watch, struct plait_wait_word *word_out)
{
    struct plait__waiting *w = &watch->waiting;
    const struct plait_waitable *how = watch->entry.how;
    bool possible = false;

    if (how->watch == PLAIT__WATCH_ATTEMPT) {
        possible = how->attempt(w) != EAGAIN;
        w->tried = true;
        if (possible)
            w->enlisted = false;
    }
    if (!possible) {
        possible = !how->enlist(w, word_out);
        w->enlisted = true;
    }
    return possible;
}

static void leave(plait_watch_t *watch)
{
    if (watch->waiting.enlisted && watch->entry.how->delist)
        watch->entry.how->delist(&watch->waiting);
    watch->waiting = (struct plait__waiting){ .entry = &watch->entry };
    watch->armed = false;
}

static void tell(plait_watch_t *watch)
{
    leave(watch);
    eventfd_write(watch->fd, 1); /* it is 0: nothing to wait for */
}

static void kick(struct watcher *watcher)
{
    add_seqcst(&watcher->kick, 1);
    plait_wake(&watcher->kick, 1, 0);
}

/* ---- The watcher ----------------------------------------------------------------------------------------------- */

/* Tell of those that are possible; enlist with the others. */
static void look_at_all(struct watcher *watcher, struct sleep *sleep)
{
    sleep->count = 0;
    sleep->until = PLAIT_FOREVER;
    sleep->shared = sleep->unwoken = false;
    for (unsigned i = 0; i < watcher->count; i++) {
        plait_watch_t *watch = watcher->watches[i];
        struct plait_wait_word *word = &sleep->words[sleep->count];

        if (!watch->armed)
            continue;
        if (look(watch, word)) {
            tell(watch);
            continue;
        }
        sleep->shared = sleep->shared || (word->flags & PLAIT_SHARED);
        sleep->unwoken = sleep->unwoken || watch->waiting.unwoken;
        if (watch->waiting.until && watch->waiting.until < sleep->until)
            sleep->until = watch->waiting.until;
        sleep->count++;
    }
}

static void sleep_on_all(struct sleep *sleep)
{
    plait_time_t look = 0, until = sleep->until;
    size_t index = sleep->count + 1;

    if (sleep->unwoken)
        until = plait__slice_end(&look, LOOK * PLAIT__MILLISECOND, LOOK * PLAIT__MILLISECOND, until);
    if (sleep->shared)
        until = plait__slice_end_shared(&sleep->slice, until);
    plait__wait_words(sleep->words, sleep->count + 1, NULL, until, &index);
    if (index <= sleep->count)
        sleep->slice = 0;
}

static void *watch_all(void *arg)
{
    struct watcher *watcher = arg;
    struct sleep *sleep = &watcher->sleep;

    pthread_mutex_lock(&lock);
    while (watcher->count) {
        uint32_t seen = load_seqcst(&watcher->kick);

        add_seqcst(&watcher->turns, 1);
        plait_wake(&watcher->turns, UINT_MAX, 0);
        look_at_all(watcher, sleep);
        sleep->words[sleep->count] = (struct plait_wait_word){ &watcher->kick, seen, 0 };
        pthread_mutex_unlock(&lock);
        sleep_on_all(sleep);
        pthread_mutex_lock(&lock);
    }
    watcher->runs = false;
    add_seqcst(&watcher->turns, 1);
    plait_wake(&watcher->turns, UINT_MAX, 0);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int start(struct watcher *watcher)
{
    int err = plait__helper_start(watch_all, watcher);

    watcher->runs = err == 0;
    return err;
}

/* One with room, that runs. */
static int find_watcher(struct watcher **watcher_out)
{
    int i = 0;

    while (i < WATCHERS && watchers[i] && watchers[i]->count == WATCHES)
        i++;
    if (i == WATCHERS)
        return EAGAIN;
    if (!watchers[i])
        watchers[i] = calloc(1, sizeof *watchers[i]);
    *watcher_out = watchers[i];
    return watchers[i] ? 0 : ENOMEM;
}

/* ---- The public calls ------------------------------------------------------------------------------------------ */

static int enter_list(plait_watch_t *watch)
{
    int err = find_watcher(&watch->watcher);

    if (err)
        return err;
    watch->place = watch->watcher->count;
    watch->watcher->watches[watch->watcher->count++] = watch;
    err = watch->watcher->runs ? 0 : start(watch->watcher);
    if (err)
        watch->watcher->count--;
    return err;
}

int plait_watch_new(plait_watch_t **watch_out, struct plait_wait_entry entry)
{
    plait_watch_t *watch;
    int err = 0;

    *watch_out = NULL;
    if (!entry.how || entry.how->watch == PLAIT__UNWATCHED || (entry.how->check && entry.how->check(&entry) != 0))
        return EINVAL;
    watch = calloc(1, sizeof *watch);
    if (!watch)
        return ENOMEM;
    pthread_once(&once, register_handlers);
    entry.buffer = NULL;
    watch->entry = entry;
    watch->waiting.entry = &watch->entry;
    watch->epoch = plait__fork_epoch_renew();
    watch->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->fd < 0)
        err = errno;
    if (err == 0) {
        pthread_mutex_lock(&lock);
        err = enter_list(watch);
        pthread_mutex_unlock(&lock);
        if (err)
            close(watch->fd);
    }
    if (err) {
        free(watch);
        return err;
    }
    *watch_out = watch;
    return 0;
}

static void leave_list(plait_watch_t *watch)
{
    struct watcher *watcher = watch->watcher;
    plait_watch_t *last;

    if (watch->armed)
        leave(watch);
    last = watcher->watches[--watcher->count];
    last->place = watch->place;
    watcher->watches[watch->place] = last;
}

/* With the lock held: until the watcher has read its list afresh. */
static void await_turn(struct watcher *watcher)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    uint32_t turn = load_seqcst(&watcher->turns);

    kick(watcher);
    while (watcher->runs && load_seqcst(&watcher->turns) == turn) {
        pthread_mutex_unlock(&lock);
        plait_wait(&watcher->turns, turn, 0, PLAIT_FOREVER);
        pthread_mutex_lock(&lock);
    }
    plait_cancel_bind(token);
}

int plait_watch_free(plait_watch_t *watch)
{
    if (!watch)
        return 0;
    if (is_ours(watch)) {
        pthread_mutex_lock(&lock);
        leave_list(watch);
        await_turn(watch->watcher);
        pthread_mutex_unlock(&lock);
    }
    close(watch->fd);
    free(watch);
    return 0;
}

int plait_watch_fileno(const plait_watch_t *watch)
{
    return watch->fd;
}

int plait_watch_arm(plait_watch_t *watch)
{
    struct plait_wait_word unused;
    eventfd_t told;

    if (!is_ours(watch))
        return EINVAL;
    pthread_mutex_lock(&lock);
    if (!watch->armed) {
        if (look(watch, &unused)) {
            leave(watch);
        } else {
            eventfd_read(watch->fd, &told);
            watch->armed = true;
            kick(watch->watcher);
        }
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

bool plait_watch_is_told(const plait_watch_t *watch)
{
    bool told;

    pthread_mutex_lock(&lock);
    told = !watch->armed;
    pthread_mutex_unlock(&lock);
    return told;
}
