/* SPDX-License-Identifier: MIT */
/*
 * How it works: the process keeps a list of its arenas, one entry for each mapping, however many handles there are. A
 * mutex of libc guards it; fork handlers hold it over a fork, so that a child finds it whole.
 *
 * Closing is logical: at the last handle the file is left (and its name removed, if nobody else is there), but the mapping
 * stays until the last thread of this process that takes part has left, because the life words of the threads are in
 * their robust lists, and a hole in such a list would break the thread's other locks. The entry stays as long.
 *
 * Whoever finds the door of a named arena occupied waits without the mutex (come_again): the one at the door may be stopped,
 * and that is no concern of those who use other arenas.
 *
 * At exit() a destructor of the library, which runs after the program's exit handlers, signs off all named arenas. Their memory
 * stays mapped, as threads may still be using it. It waits for the mutex and the doors no longer than a second:
 * a name that is left is recognised by the next who opens it.
 */
#include <plait/arena.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena/door.h"
#include "arena/member.h"
#include "arena/open.h"
#include "base/clock.h"
#include "base/options.h"
#include "base/races.h"
#include "wait/futex.h"
#include "wait/point.h"

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct plait_arena *arenas; /* guarded by registry */

static void before_fork(void)
{
    pthread_mutex_lock(&registry);
    for (struct plait_arena *a = arenas; a; a = a->next)
        plait__door_before_fork(a);
}

static void after_fork(void)
{
    for (struct plait_arena *a = arenas; a; a = a->next)
        plait__door_after_fork(a, false);
    pthread_mutex_unlock(&registry);
}

static void after_fork_in_child(void);

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static void lock_registry(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    plait__races_once(&once, watch_forks);
    pthread_mutex_lock(&registry);
}

static void unlock_registry(void)
{
    pthread_mutex_unlock(&registry);
}

/* Sleep for a moment that grows from call to call: 50 us to 10 ms. No cancellation point. */
static void come_again(plait_time_t *moment)
{
    static const uint32_t never;

    *moment = *moment == 0 ? 50 * 1000 : *moment * 2;
    if (*moment > 10 * PLAIT__MILLISECOND)
        *moment = 10 * PLAIT__MILLISECOND;
    plait__futex_wait(&never, 0, false, plait_now() + *moment);
}

/* Take an entry out and free it, if nothing holds it any more. */
static void drop_if_unused(struct plait_arena *arena)
{
    struct plait_arena **link = &arenas;

    if (arena->handles || arena->members)
        return;
    while (*link != arena)
        link = &(*link)->next;
    *link = arena->next;
    plait__open_unmap(arena);
    free(arena);
}

/*
 * The child has its parent's arenas, but none of the threads that take part: what was kept for their sake goes. It
 * uses named ones in its own right.
 */
static void after_fork_in_child(void)
{
    struct plait_arena *next;

    for (struct plait_arena *a = arenas; a; a = next) {
        next = a->next;
        a->members = 0;
        plait__door_after_fork(a, true);
        drop_if_unused(a);
    }
    pthread_mutex_unlock(&registry);
}

struct plait_arena *plait__arena_find(const void *address, size_t size)
{
    struct plait_arena *a;

    lock_registry();
    for (a = arenas; a; a = a->next) {
        uintptr_t distance = (uintptr_t)address - (uintptr_t)a->base;

        if ((uintptr_t)address >= (uintptr_t)a->base && distance < a->limit && size <= a->limit - distance)
            break;
    }
    unlock_registry();
    return a;
}

static struct plait_arena *find_id(uint64_t id)
{
    struct plait_arena *a = arenas;

    while (a && !(a->id == id && a->handles))
        a = a->next;
    return a;
}

plait_arena_t *plait__arena_by_id(uint64_t id)
{
    struct plait_arena *a;

    lock_registry();
    a = find_id(id);
    unlock_registry();
    return a;
}

/* Make a handle out of what was opened: on the mapping that we have, or the new entry, which is `spare`. With the registry locked. */
static void enter(struct plait_arena *opened, struct plait_arena *spare, struct plait_arena **arena_out)
{
    struct plait_arena *a = find_id(opened->id);

    if (a && (a->kind == opened->kind || (opened->kind == PLAIT__ARENA_MEMFD && a->kind == PLAIT__ARENA_NAMED))) {
        plait__open_drop(opened);
        free(spare);
        a->handles++;
        *arena_out = a;
        return;
    }
    *spare = *opened;
    spare->opener = getpid();
    spare->handles = 1;
    spare->members = 0;
    spare->next = arenas;
    arenas = spare;
    *arena_out = spare;
}

static int open_as_asked(const struct plait_arena_opts *o, struct plait_arena *opened)
{
    *opened = (struct plait_arena){ .fd = -1, .child_fd = -1 };
    if (o->memory) {
        opened->kind = PLAIT__ARENA_OWN_MEMORY;
        return plait__open_memory(o, opened);
    }
    if (o->name) {
        opened->kind = PLAIT__ARENA_NAMED;
        return plait__open_named(o, opened);
    }
    opened->kind = PLAIT__ARENA_MEMFD;
    return plait__open_anonymous(o, opened);
}

int plait_arena_new_sized(plait_arena_t **arena_out, const struct plait_arena_opts *opts, size_t opts_size)
{
    struct plait_arena opened, *spare;
    struct plait_arena_opts o;
    plait_time_t moment = 0;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *arena_out = NULL;
    if (err || o.open > PLAIT_OPEN || (o.memory && o.name) || (!o.memory && o.memory_size) || !plait__open_hints_are_good(o.hints))
        return EINVAL;
    spare = malloc(sizeof *spare);
    if (!spare)
        return ENOMEM;
    for (;;) {
        lock_registry();
        err = open_as_asked(&o, &opened);
        if (err == 0)
            enter(&opened, spare, arena_out);
        unlock_registry();
        if (err != EBUSY)
            break;
        come_again(&moment);
    }
    if (err)
        free(spare);
    return err;
}

int plait__arena_attach_fd(int fd, plait_arena_t **arena_out)
{
    struct plait_arena opened = { .fd = -1, .child_fd = -1, .kind = PLAIT__ARENA_MEMFD };
    struct plait_arena *spare = malloc(sizeof *spare);
    int err;

    if (!spare)
        return ENOMEM;
    lock_registry();
    err = plait__open_fd(fd, &opened);
    if (err == 0)
        enter(&opened, spare, arena_out);
    unlock_registry();
    if (err)
        free(spare);
    return err;
}

int plait__arena_fd(const plait_arena_t *arena)
{
    return arena->fd;
}

/* An opening of its own: the locks on the file, which tell who uses the name, do not travel along. */
int plait_arena_fd(plait_arena_t *arena, int *fd_out)
{
    int closed;

    *fd_out = -1;
    if (arena->kind == PLAIT__ARENA_OWN_MEMORY)
        return EINVAL;
    if (!plait__open_is_ours(arena))
        return EBADF;
    closed = plait__point_close();
    *fd_out = arena->kind == PLAIT__ARENA_NAMED ? plait__door_reopen(arena->fd) : fcntl(arena->fd, F_DUPFD_CLOEXEC, 0);
    plait__point_restore(closed);
    return *fd_out < 0 ? errno : 0;
}

int plait_arena_from_fd(plait_arena_t **arena_out, int fd)
{
    *arena_out = NULL;
    return plait__arena_attach_fd(fd, arena_out);
}

/* Does the caller hold a lock there, other than the life word of its slot? */
static bool holds_lock_in(const struct plait_arena *arena)
{
    uint64_t heap = plait__heap_offset(arena->base->participants);

    return plait__robust_holds_within(arena->base, plait__slots_offset()) ||
           plait__robust_holds_within(plait__at(arena->base, heap), arena->limit - heap);
}

void plait__arena_hold(plait_arena_t *arena)
{
    lock_registry();
    arena->handles++;
    unlock_registry();
}

int plait_arena_free(plait_arena_t *arena)
{
    const void *closed = NULL;
    plait_time_t moment = 0;

    if (!arena)
        return 0;
    lock_registry();
    while (arena->handles == 1) {
        if (holds_lock_in(arena)) {
            unlock_registry();
            return EBUSY;
        }
        if (plait__door_leave(arena) == 0) {
            closed = arena->base;
            break;
        }
        unlock_registry();
        come_again(&moment);
        lock_registry();
    }
    arena->handles--;
    drop_if_unused(arena); /* not while the caller itself takes part */
    unlock_registry();
    if (closed)
        plait__member_leave(closed);
    return 0;
}

/* Only until the deadline: who holds the registry may be interrupted by the very handler that has called exit. */
static bool lock_registry_by(plait_time_t deadline)
{
    plait_time_t moment = 0;

    while (pthread_mutex_trylock(&registry) != 0) {
        if (plait_now() >= deadline)
            return false;
        come_again(&moment);
    }
    return true;
}

void plait__arena_sign_off(void)
{
    plait_time_t deadline = plait_now() + PLAIT__SECOND;

    if (!lock_registry_by(deadline))
        return;
    for (struct plait_arena *a = arenas; a; a = a->next) {
        plait_time_t moment = 0;

        while (a->handles && plait__door_sign_off(a) == EBUSY && plait_now() < deadline)
            come_again(&moment);
    }
    unlock_registry();
}

__attribute__((destructor)) static void sign_off_at_exit(void)
{
    plait__arena_sign_off();
}

plait_arena_t *plait_arena_of(const void *address)
{
    struct plait_arena *a = plait__arena_find(address, 1);

    return a && a->handles ? a : NULL;
}

void plait__arena_member_joined(struct plait_arena *arena)
{
    lock_registry();
    arena->members++;
    unlock_registry();
}

void plait__arena_member_left(struct plait_arena *arena)
{
    lock_registry();
    arena->members--;
    drop_if_unused(arena);
    unlock_registry();
}

int plait_arena_unlink(const char *name)
{
    char *file;
    int err = plait__arena_file_name(name, &file);

    if (err)
        return err;
    if (shm_unlink(file) != 0)
        err = errno;
    free(file);
    return err;
}
