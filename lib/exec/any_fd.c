/* SPDX-License-Identifier: MIT */
/*
 * Descriptors as entries of plait_wait_any
 *
 * Where the caller can sleep on descriptors beside words (wait/ring.h), enlist names the descriptor, and that is all.
 *
 * Elsewhere a sleep is on words, so somebody has to turn a descriptor that is ready into a word that changes: one thread, which sleeps in
 * epoll_wait. An entry that is enlisted has a request: a word, and a duplicate of the descriptor in the thread's epoll set (a duplicate,
 * for one descriptor may be asked for by several, and may be closed by the program), to be reported once. The thread stores
 * the word, and wakes it. What is ready the attempt asks poll.
 *
 * E1: the thread stores the word with a release, and who finds it set asks again by an acquire: the report was over.
 *
 * No wake is lost: epoll reports a descriptor that is ready when it is added, or asked for again, as one that becomes ready later.
 *
 * The thread names requests by numbers, for one may have ended between epoll_wait and its being looked up: under the lock, in a
 * table. A number is the place in it and how many there were before.
 *
 * Where there is no memory, descriptor or thread for a request, its entry is looked at every few milliseconds (`unwoken`).
 *
 * The thread stays once it was needed. A child of fork has none; the set is its parent's, so it makes another.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <fcntl.h>
#include <unistd.h>

#include <plait/watch.h>

#include "base/atomic.h"
#include "exec/helper.h"
#include "wait/waitable.h"

struct request {
    uint32_t word; /* atomic: 1: reported */
    int fd;        /* const: of our own */
    uint32_t events; /* const */
    uint64_t number; /* const */
};

enum { REPORTS = 64, ROOM_MIN = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int set = -1;            /* guarded by lock, as all that follows: the epoll set; -1: there is no thread */
static struct request **table;  /* NULL: a free place */
static uint32_t room, next;     /* of the table; where to look for a free place */
static uint32_t before;         /* requests so far */

/* ---- The thread ------------------------------------------------------------------------------------------------ */

static void report(uint64_t number)
{
    uint32_t at = (uint32_t)number;

    if (at < room && table[at] && table[at]->number == number) {
        store_release(&table[at]->word, 1); /* E1 */
        plait_wake(&table[at]->word, UINT_MAX, 0);
    }
}

static void *report_all(void *arg)
{
    int mine = (int)(intptr_t)arg;
    struct epoll_event reports[REPORTS];
    int n;

    for (;;) {
        n = epoll_wait(mine, reports, REPORTS, -1);
        if (n < 0 && errno != EINTR)
            return NULL;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < n; i++)
            report(reports[i].data.u64);
        pthread_mutex_unlock(&lock);
    }
}

static void forget_after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    if (set >= 0)
        close(set);
    set = -1;
    table = NULL; /* the memory may have been in change */
    room = next = 0;
}

static void register_handlers(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

static int start(void)
{
    int err;

    set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0)
        return errno;
    err = plait__helper_start(report_all, (void *)(intptr_t)set);
    if (err) {
        close(set);
        set = -1;
    }
    return err;
}

/* ---- Requests -------------------------------------------------------------------------------------------------- */

/* A free place in the table, which grows. */
static int find_place(uint32_t *at_out)
{
    struct request **larger;
    uint32_t size;

    for (uint32_t i = 0; i < room; i++) {
        uint32_t at = (next + i) % room;

        if (!table[at]) {
            *at_out = at;
            next = at + 1;
            return 0;
        }
    }
    size = room ? 2 * room : ROOM_MIN;
    larger = realloc(table, size * sizeof(struct request *));
    if (!larger)
        return ENOMEM;
    for (uint32_t i = room; i < size; i++)
        larger[i] = NULL;
    *at_out = room;
    next = room + 1;
    table = larger;
    room = size;
    return 0;
}

/* Have it reported once. */
static int ask(struct request *r, int how)
{
    struct epoll_event event = { .events = r->events | EPOLLONESHOT, .data = { .u64 = r->number } };

    store_relaxed(&r->word, 0); /* relaxed: the lock is held, and nobody else reads it */
    return epoll_ctl(set, how, r->fd, &event) == 0 ? 0 : errno;
}

static int enter(struct request *r)
{
    uint32_t at;
    int err = set >= 0 ? 0 : start();

    if (err == 0)
        err = find_place(&at);
    if (err)
        return err;
    r->number = (uint64_t)++before << 32 | at;
    err = ask(r, EPOLL_CTL_ADD);
    if (err == 0)
        table[at] = r;
    return err;
}

/* NULL: there can be none. */
static struct request *make_request(int fd, short events)
{
    struct request *r = calloc(1, sizeof *r);
    int err;

    if (!r)
        return NULL;
    pthread_once(&once, register_handlers);
    r->events = (uint32_t)(unsigned short)events; /* poll's and epoll's are the same */
    r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    err = r->fd < 0 ? errno : 0;
    if (err == 0) {
        pthread_mutex_lock(&lock);
        err = enter(r);
        pthread_mutex_unlock(&lock);
    }
    if (err == 0)
        return r;
    if (r->fd >= 0)
        close(r->fd);
    free(r);
    return NULL;
}

static void end_request(struct request *r)
{
    pthread_mutex_lock(&lock);
    if ((uint32_t)r->number < room && table[(uint32_t)r->number] == r) {
        table[(uint32_t)r->number] = NULL;
        epoll_ctl(set, EPOLL_CTL_DEL, r->fd, NULL);
    }
    pthread_mutex_unlock(&lock);
    close(r->fd);
    free(r);
}

/* ---- Among others ---------------------------------------------------------------------------------------------- */

static int fd_of(const struct plait__waiting *waiting) { return (int)(uint32_t)waiting->entry->size; }
static short events_of(const struct plait__waiting *waiting) { return (short)(waiting->entry->size >> 32); }

static struct request *request_of(const struct plait__waiting *waiting)
{
    return (struct request *)(uintptr_t)waiting->kept;
}

static void delist(struct plait__waiting *waiting)
{
    if (waiting->kept)
        end_request(request_of(waiting));
    waiting->kept = 0;
}

static int attempt(struct plait__waiting *waiting)
{
    struct pollfd fd = { .fd = fd_of(waiting), .events = events_of(waiting) };
    int n = fd.fd < 0 ? 1 : poll(&fd, 1, 0);

    if (n == 0 || (n < 0 && errno == EINTR))
        return EAGAIN;
    delist(waiting);
    if (n < 0)
        return errno;
    if (fd.fd < 0 || (fd.revents & POLLNVAL))
        return EBADF;
    if (waiting->entry->buffer)
        *(short *)waiting->entry->buffer = fd.revents;
    return 0;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    struct request *r = request_of(waiting);

    if (!r && waiting->can_poll && plait__ring_is_usable()) {
        waiting->polls = true;
        waiting->poll = (struct plait__poll){ fd_of(waiting), events_of(waiting) };
        *word_out = (struct plait_wait_word){ &plait__never, 0, 0 };
        return true;
    }
    if (!r) {
        r = make_request(fd_of(waiting), events_of(waiting));
        waiting->kept = (uint64_t)(uintptr_t)r;
    } else if (load_acquire(&r->word)) /* E1 */ {
        pthread_mutex_lock(&lock);
        if (ask(r, EPOLL_CTL_MOD) != 0)
            waiting->unwoken = true;
        pthread_mutex_unlock(&lock);
    }
    if (!r) {
        waiting->unwoken = true;
        *word_out = (struct plait_wait_word){ &plait__never, 0, 0 };
        return true;
    }
    *word_out = (struct plait_wait_word){ &r->word, 0, 0 };
    return true;
}

struct plait_wait_entry plait_any_fd(int fd, short events, short *revents_out)
{
    static const struct plait_waitable polling = { attempt, enlist, delist, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){
        .how = &polling, .buffer = revents_out, .size = (uint64_t)(unsigned short)events << 32 | (uint32_t)fd
    };
}
