/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A thread that sleeps on descriptors beside words has an io_uring of its own, made when it is first needed. Each sleep submits one
 * futex_waitv for all words and one poll for each descriptor, and waits for the first of them to complete, in one system call.
 * A second call takes the others back: it cancels all, and returns when each of them has completed in one way or the other. So no
 * operation outlives the sleep, and nothing in the ring refers to the caller's words or descriptors afterwards.
 *
 * No wake is lost: the kernel compares the words when the operation is submitted, as futex_waitv does. A wake may be spent on the
 * operation while it is being cancelled: then it completes as woken, its word is told, and even untold the caller counts as
 * woken (wait_any.c).
 *
 * The ring is of its thread alone (SINGLE_ISSUER), and completions come when the thread asks for them (DEFER_TASKRUN), so no locked
 * instruction and no signal is needed. E1: the kernel stores a completion, then releases the tail of its queue; we acquire the tail.
 *
 * A child of fork has none: the memory does not come along, and the descriptors are closed in it, those of other threads too,
 * which is what the list of all rings is for. After _Fork or clone, which call no handlers, the epoch tells.
 *
 * The layouts and numbers are the kernel's, from 6.7 on; the headers of distributions are older. What the kernel cannot do is found when
 * the ring is made.
 */
#include "wait/ring.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "base/tls.h"
#include "wait/futex.h"
#include "wait/hook.h"

enum {
    NR_SETUP = 425, /* the same on every architecture */
    NR_ENTER = 426,
    NR_REGISTER = 427,
    SETUP_SINGLE_ISSUER = 1 << 12,
    SETUP_DEFER_TASKRUN = 1 << 13,
    SETUP_NO_SQARRAY = 1 << 16,
    FEAT_SINGLE_MMAP = 1 << 0,
    FEAT_EXT_ARG = 1 << 8,
    ENTER_GETEVENTS = 1 << 0,
    ENTER_EXT_ARG = 1 << 3,
    REGISTER_PROBE = 8,
    OP_POLL_ADD = 6,
    OP_ASYNC_CANCEL = 14,
    OP_FUTEX_WAITV = 53,
    OP_SUPPORTED = 1 << 0,
    CANCEL_ALL = 1 << 0,
    CANCEL_ANY = 1 << 2,
    MMAP_SQES = 0x10000000,
    ENTRIES = 64
};

/* What an operation is known by when it completes. */
enum { WORDS = 1, POLL = 2, CANCEL = 3 };

enum { UNTOLD = INT_MIN }; /* no result as yet */

struct params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, spare[3];
    struct { uint32_t head, tail, mask, entries, flags, dropped, array, spare; uint64_t user_addr; } sq;
    struct { uint32_t head, tail, mask, entries, overflow, cqes, flags, spare; uint64_t user_addr; } cq;
};

struct submission {
    uint8_t op, flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t offset, address;
    uint32_t length, op_flags;
    uint64_t name;
    uint64_t spare[3];
};

struct completion {
    uint64_t name;
    int32_t result;
    uint32_t flags;
};

struct probe {
    uint8_t last_op, ops_count;
    uint16_t spare;
    uint32_t spare2[3];
    struct { uint8_t op, spare; uint16_t flags; uint32_t spare2; } ops[ENTRIES];
};

struct enter_arg {
    uint64_t sigmask;
    uint32_t sigmask_size, min_wait;
    uint64_t timeout;
};

_Static_assert(sizeof(struct params) == 120 && sizeof(struct submission) == 64 && sizeof(struct completion) == 16,
               "the kernel's layouts");
_Static_assert(PLAIT__POLLS_MAX + 2 <= ENTRIES, "one sleep is submitted at once");

struct ring {
    int fd;
    uint32_t epoch; /* fork epoch in which it was made; 0: there is none */
    char *memory;
    size_t size;
    struct submission *submissions;
    uint32_t *sq_tail, *cq_head, *cq_tail; /* the last is the kernel's: atomic (E1) */
    uint32_t sq_mask, cq_mask;
    struct completion *completions;
    struct ring *next, **link; /* guarded by lock: all that have an epoch */
};

static PLAIT_TLS struct ring mine;
static uint32_t missing; /* the kernel has said that it cannot; relaxed: a hint */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static int once_error;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ring *rings; /* guarded by lock */

/* ---- Making one ---- */

static void *map(int fd, size_t size, uint64_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);

    if (memory != MAP_FAILED)
        madvise(memory, size, MADV_DONTFORK);
    return memory;
}

/* Forget it. */
static void delist(struct ring *r)
{
    pthread_mutex_lock(&lock);
    if (r->link && (*r->link = r->next) != NULL)
        r->next->link = r->link;
    pthread_mutex_unlock(&lock);
    *r = (struct ring){ 0 };
}

/* Its memory goes too; the descriptor is closed by who calls this, or was. */
static void unmake(struct ring *r)
{
    if (r->submissions)
        munmap(r->submissions, ENTRIES * sizeof *r->submissions);
    if (r->memory)
        munmap(r->memory, r->size);
    delist(r);
}

static void end_of_thread(void *ring)
{
    struct ring *r = ring;
    int fd = r->fd;

    if (!r->epoch) {
        return;
    } else if (r->epoch != plait__fork_epoch()) { /* the parent's */
        delist(r);
    } else {
        unmake(r);
        close(fd);
    }
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

static void after_fork_in_child(void)
{
    for (struct ring *r = rings, *next; r; r = next) {
        next = r->next;
        close(r->fd);
        *r = (struct ring){ 0 };
    }
    rings = NULL;
    pthread_mutex_init(&lock, NULL);
}

static void prepare(void)
{
    once_error = pthread_key_create(&at_thread_end, end_of_thread);
    if (once_error == 0)
        once_error = pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static void enlist(struct ring *r)
{
    pthread_mutex_lock(&lock);
    r->next = rings;
    r->link = &rings;
    if (rings)
        rings->link = &r->next;
    rings = r;
    pthread_mutex_unlock(&lock);
}

static bool can_wait_for_words(int fd)
{
    struct probe probe = { 0 };

    return syscall(NR_REGISTER, fd, REGISTER_PROBE, &probe, ENTRIES) == 0 && probe.ops_count > OP_FUTEX_WAITV &&
           (probe.ops[OP_FUTEX_WAITV].flags & OP_SUPPORTED);
}

static int map_all(struct ring *r, const struct params *p)
{
    size_t sq = p->sq.flags + sizeof(uint32_t), cq = p->cq.cqes + p->cq_entries * sizeof(struct completion);
    void *memory;

    r->size = sq > cq ? sq : cq;
    memory = map(r->fd, r->size, 0);
    if (memory == MAP_FAILED)
        return errno;
    r->memory = memory;
    memory = map(r->fd, ENTRIES * sizeof *r->submissions, MMAP_SQES);
    if (memory == MAP_FAILED)
        return errno;
    r->submissions = memory;
    r->sq_tail = (uint32_t *)(void *)(r->memory + p->sq.tail);
    r->sq_mask = *(uint32_t *)(void *)(r->memory + p->sq.mask);
    r->cq_head = (uint32_t *)(void *)(r->memory + p->cq.head);
    r->cq_tail = (uint32_t *)(void *)(r->memory + p->cq.tail);
    r->cq_mask = *(uint32_t *)(void *)(r->memory + p->cq.mask);
    r->completions = (struct completion *)(void *)(r->memory + p->cq.cqes);
    return 0;
}

static int make(struct ring *r)
{
    struct params p = { .flags = SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_NO_SQARRAY };
    uint32_t needed = FEAT_SINGLE_MMAP | FEAT_EXT_ARG;
    int fd, err;

    pthread_once(&once, prepare);
    delist(r); /* the parent's, after _Fork */
    fd = (int)syscall(NR_SETUP, ENTRIES, &p);
    if (fd < 0)
        return errno;
    *r = (struct ring){ .fd = fd };
    err = (p.features & needed) == needed && can_wait_for_words(fd) ? map_all(r, &p) : ENOSYS;
    if (err == 0)
        err = once_error ? once_error : pthread_setspecific(at_thread_end, r);
    if (err) {
        unmake(r);
        close(fd);
        return err;
    }
    enlist(r);
    r->epoch = plait__fork_epoch_renew();
    return 0;
}

/* valgrind lets one thread run at a time, and does not know that this system call sleeps: the others would stand still. */
static bool is_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded && strstr(preloaded, "/vgpreload_");
}

bool plait__ring_is_usable(void)
{
    int err;

    if (load_relaxed(&missing) || plait__wait_is_hooked())
        return false;
    if (mine.epoch && mine.epoch == plait__fork_epoch())
        return true;
    err = is_under_valgrind() ? ENOSYS : make(&mine);
    if (err == ENOSYS || err == EPERM || err == EINVAL) /* an old kernel, a container's filter, or one that has it switched off */
        store_relaxed(&missing, 1);
    return err == 0;
}

/* ---- Sleeping ---- */

static struct submission *submit(struct ring *r, uint8_t op, uint64_t name)
{
    uint32_t tail = *r->sq_tail;
    struct submission *s = &r->submissions[tail & r->sq_mask];

    *s = (struct submission){ .op = op, .name = name };
    store_relaxed(r->sq_tail, tail + 1); /* relaxed: the kernel looks in our own system call only */
    return s;
}

/* Look through what has completed: how many, and what it says of the words. */
static size_t reap(struct ring *r, int *words_result)
{
    uint32_t head = *r->cq_head, tail = load_acquire(r->cq_tail); /* E1 */
    size_t count = tail - head;

    for (; head != tail; head++)
        if (r->completions[head & r->cq_mask].name == WORDS)
            *words_result = r->completions[head & r->cq_mask].result;
    store_relaxed(r->cq_head, head); /* relaxed, as in submit: the kernel looks in our own system calls only */
    return count;
}

/* Submit, and wait for so many completions or until the deadline. 0, or an error number; EINTR and ETIME: look again. */
static int enter(struct ring *r, unsigned *to_submit, size_t completions, plait_time_t deadline)
{
    struct enter_arg arg = { .sigmask_size = _NSIG / 8 };
    struct timespec span;
    long n;

    if (deadline != PLAIT_FOREVER) {
        plait_time_t left = deadline - plait_now();

        span = plait__timespec(left > 0 ? left : 0);
        arg.timeout = (uintptr_t)&span;
    }
    n = syscall(NR_ENTER, r->fd, *to_submit, (unsigned)completions, ENTER_GETEVENTS | ENTER_EXT_ARG, &arg, sizeof arg);
    if (n < 0)
        return errno;
    *to_submit -= (unsigned)n;
    return 0;
}

/* The program has closed the descriptor, which did away with what was outstanding. */
static bool is_lost(int err)
{
    return err == EBADF || err == EOPNOTSUPP || err == ENXIO;
}

/* Take back what has not completed, of `outstanding`. */
static void cancel_all(struct ring *r, size_t outstanding, int *words_result)
{
    unsigned to_submit = 1;
    int err;

    if (outstanding == 0)
        return;
    submit(r, OP_ASYNC_CANCEL, CANCEL)->op_flags = CANCEL_ALL | CANCEL_ANY;
    for (outstanding++; outstanding > 0; outstanding -= reap(r, words_result)) {
        err = enter(r, &to_submit, outstanding, PLAIT_FOREVER);
        if (is_lost(err)) {
            unmake(r);
            return;
        }
    }
}

/* Submit, and sleep until something completes. ETIMEDOUT; ENOSYS: the kernel would not. */
static int sleep_in(struct ring *r, size_t *outstanding, plait_time_t deadline, int *words_result)
{
    unsigned to_submit = (unsigned)*outstanding;
    size_t done;
    int err;

    for (;;) {
        err = enter(r, &to_submit, 1, deadline);
        done = reap(r, words_result);
        if (done || (err && err != EINTR && err != ETIME))
            break;
        if (deadline != PLAIT_FOREVER && plait_now() >= deadline) {
            err = ETIMEDOUT;
            break;
        }
    }
    if (is_lost(err)) {
        *outstanding = 0;
        unmake(r);
        return ENOSYS;
    }
    *r->sq_tail -= to_submit; /* what it has not taken */
    *outstanding -= to_submit + done;
    return done ? 0 : err == ETIMEDOUT ? ETIMEDOUT : ENOSYS;
}

/* As the kernel wants it: the halves are in another order where the last byte comes first. */
static uint32_t poll_bits(short events)
{
    uint32_t bits = (unsigned short)events;

    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? bits : bits << 16;
}

/* Submit all of it. */
static void submit_all(struct ring *r, const struct plait__waitv *vector, size_t count, const struct plait__polls *polls)
{
    struct submission *s = submit(r, OP_FUTEX_WAITV, WORDS);

    s->address = (uintptr_t)vector;
    s->length = (uint32_t)count;
    for (size_t i = 0; i < polls->count; i++) {
        s = submit(r, OP_POLL_ADD, POLL);
        s->fd = polls->list[i].fd;
        s->op_flags = poll_bits(polls->list[i].events);
    }
}

int plait__ring_wait(const struct plait_wait_word *words, size_t count, const struct plait__polls *polls,
                     plait_time_t deadline, size_t *index_out)
{
    struct plait__waitv vector[PLAIT__WAIT_WORDS_MAX];
    int result = UNTOLD, err = ENOSYS;
    bool lost = false;

    if (polls->count > PLAIT__POLLS_MAX || count > PLAIT__WAIT_WORDS_MAX)
        return ENOSYS;
    plait__waitv_fill(vector, words, count);
    for (int tries = 0; tries < 2 && (tries == 0 || lost) && plait__ring_is_usable(); tries++) {
        size_t outstanding = polls->count + 1;

        submit_all(&mine, vector, count, polls);
        err = sleep_in(&mine, &outstanding, deadline, &result);
        lost = !mine.epoch;
        cancel_all(&mine, outstanding, &result);
    }
    if (result >= 0 && (size_t)result < count)
        *index_out = (size_t)result;
    return result < 0 && result != UNTOLD && result != -EAGAIN && result != -ECANCELED ? -result : err;
}
