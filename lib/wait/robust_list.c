/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The kernel walks a list of held locks when a thread ends, however it ends, and marks each lock whose word holds the
 * thread's TID. A thread has one such list, and libc has registered it for its own robust mutexes. Our locks join that
 * list: they are laid out so that, at the distance from the list entry that libc told the kernel, lies the owner's
 * word, and that a neighbour of libc's making finds our `prev` where it expects its own.
 *
 *                  plait_lock_t        glibc's pthread_mutex_t    musl's pthread_mutex_t
 *     offset  8    robust[0]           word                        type (bit 7: shared)
 *            12    robust[1]                                       word
 *            16    robust[2]                                       waiters
 *            32    prev                prev                        prev
 *            40    next = the entry    next, word at -32           next, word at -28
 *
 * Life words come first, and locks behind them: the kernel marks them in this order, and so does not tell of a death by a lock before the dead
 * one's life words say so.
 *
 * What is not whole in the list, a lock on its way in or out, stands in `pending`; see robust.c for who writes it when.
 *
 * Where libc has registered no list (qemu-user, some filters of system calls) the thread keeps its locks in a list all the
 * same, one of its own, so that it is known what it holds.
 */
#include "wait/robust_list.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wait/pi.h"
#include "wait/robust.h"

enum {
    LAYOUT_GLIBC = -32,
    LAYOUT_MUSL = -28,
    MUSL_TYPE_SHARED = 128
};

_Static_assert(offsetof(plait_lock_t, next) == 40 && offsetof(plait_lock_t, prev) == 32, "glibc's mutex at 8");
_Static_assert(sizeof(plait_lock_t) == 48, "part of the ABI");

char plait__robust_deaths;

PLAIT_TLS struct plait__robust_self plait__robust_self = { .epoch = PLAIT__EPOCH_NONE };

/* What stands in for the list where libc has registered none. */
static PLAIT_TLS struct plait__robust_head unwatched = { .offset = LAYOUT_GLIBC };

static struct plait__robust_head *registered_list(void)
{
    struct plait__robust_head *head = NULL;
    size_t size = 0;

    if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || !head || size != sizeof *head)
        return NULL;
    if (head->offset != LAYOUT_GLIBC && head->offset != LAYOUT_MUSL)
        return NULL;
    return head;
}

/* musl registers a thread's list when it first locks a robust mutex. */
static void make_libc_register(void)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t mutex;

    if (pthread_mutexattr_init(&attr) != 0)
        return;
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 && pthread_mutex_init(&mutex, &attr) == 0) {
        if (pthread_mutex_lock(&mutex) == 0)
            pthread_mutex_unlock(&mutex);
        pthread_mutex_destroy(&mutex);
    }
    pthread_mutexattr_destroy(&attr);
}

/*
 * In a child of fork, musl leaves the list as it was: who links a lock in front of the parent's writes into the
 * parent's list. What the child has linked itself comes first; the list is cut off behind that. musl clears the offset until
 * the child's first robust mutex.
 */
static void cut_off_parents_locks(struct plait__robust_head *head)
{
    void **link = &head->first;

    for (unsigned seen = 0; head->offset && *link != (void *)&head->first && seen < 2 * PLAIT__ROBUST_HELD_MAX; seen++) {
        uintptr_t entry = (uintptr_t)*link & ~(uintptr_t)1;

        if ((load_relaxed((uint32_t *)(entry + (uintptr_t)head->offset)) & FUTEX_TID_MASK) != plait__robust_self.tid)
            break;
        link = (void **)entry;
    }
    *link = &head->first;
}

__attribute__((noinline)) void plait__robust_fill_self(void)
{
    plait__robust_self.epoch = plait__fork_epoch_renew();
    plait__robust_self.tid = (uint32_t)syscall(SYS_gettid);
    plait__robust_self.held = 0;
    if (plait__robust_self.head)
        cut_off_parents_locks(plait__robust_self.head);
    plait__robust_self.head = registered_list();
    if (!plait__robust_self.head) {
        make_libc_register();
        plait__robust_self.head = registered_list();
    }
    plait__robust_self.is_watched = plait__robust_self.head != NULL;
    if (!plait__robust_self.head) {
        plait__robust_self.head = &unwatched;
        if (!unwatched.first)
            unwatched.first = &unwatched.first;
    }
    plait__robust_self.spot = &plait__robust_self.head->first;
    plait__robust_self.lives = 0;
    plait__robust_self.word_at = plait__robust_self.head->offset == LAYOUT_MUSL;
}

bool plait__robust_pi_works(void)
{
    return plait__robust_me()->is_watched && plait__robust_me()->head->offset == LAYOUT_GLIBC && plait__pi_works();
}

bool plait__robust_list_works(void)
{
    return plait__robust_me()->is_watched;
}

int32_t plait__robust_layout(void)
{
    return plait__robust_me()->is_watched ? (int32_t)plait__robust_me()->head->offset : LAYOUT_GLIBC - 1;
}

uint32_t plait__robust_tid(void)
{
    return plait__robust_me()->tid;
}

void plait__robust_init(plait_lock_t *lock, uint32_t mode, uint64_t arena_offset)
{
    *lock = (plait_lock_t){ .state = PLAIT__LOCK_IS_SHARED, .mode = mode, .arena_offset = arena_offset };
    if (plait__robust_layout() == LAYOUT_MUSL)
        lock->robust[0] = MUSL_TYPE_SHARED;
}

bool plait__robust_holds_within(const void *start, uint64_t size)
{
    struct plait__robust_head *head = plait__robust_me()->head;
    unsigned seen = 0;

    for (void *entry = head->first; entry != &head->first && seen < 2 * PLAIT__ROBUST_HELD_MAX; seen++) {
        uintptr_t address = (uintptr_t)entry & ~(uintptr_t)1;

        if (address - (uintptr_t)start < size)
            return true;
        entry = *(void **)address;
    }
    return false;
}
