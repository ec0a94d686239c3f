/* SPDX-License-Identifier: MIT */
/* Named arenas and the end of their users: who leaves by exit() leaves no name, and who waits at a door delays nobody else. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

#define DOOR (((off_t)1 << 62) + 1) /* the byte that door.c locks */

static char name[40];
static plait_arena_t *arena;

static bool name_exists(void)
{
    char file[80];

    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    return access(file, F_OK) == 0;
}

static int open_it(enum plait_open how)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = 1u << 20, .open = how });
}

static int name_it(void **state)
{
    static int count;

    snprintf(name, sizeof name, "exit-%d-%d", (int)getpid(), count++);
    return 0;
}

static int look_what_is_left(void **state)
{
    bool left = name_exists();

    plait_arena_unlink(name);
    return left;
}

/* ---- Exit ------------------------------------------------------------------------------- */

static int open_and_exit(void *arg)
{
    exit(open_it(PLAIT_OPEN_OR_CREATE) ? 1 : 0);
}

static void name_is_gone_after_exit(void **state)
{
    for (int i = 0; i < 20; i++) {
        assert_int_equal(child_run(open_and_exit, NULL), 0);
        assert_false(name_exists());
    }
}

static void name_is_gone_after_main_has_returned(void **state)
{
    assert_int_equal(child_end(child_exec("return", name)), 0);
    assert_false(name_exists());
}

static int open_and_return(const void *arg, size_t size)
{
    snprintf(name, sizeof name, "%s", (const char *)arg);
    return open_it(PLAIT_OPEN_OR_CREATE);
}

static void name_is_gone_after_a_process_target_has_returned(void **state)
{
    plait_process_t *process;
    int code = -1;

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = open_and_return, .arg = name,
                                                                               .arg_size = sizeof name }), 0);
    assert_int_equal(plait_process_start(process), 0);
    assert_int_equal(plait_process_join(process, PLAIT_FOREVER), 0);
    assert_int_equal(plait_process_exitcode(process, &code), 0);
    plait_process_free(process);
    assert_int_equal(code, 0);
    assert_false(name_exists());
}

static void name_stays_while_somebody_else_has_it_open(void **state)
{
    assert_int_equal(open_it(PLAIT_CREATE), 0);
    assert_int_equal(child_run(open_and_exit, NULL), 0);
    assert_true(name_exists());
    assert_int_equal(plait_arena_free(arena), 0);
    assert_false(name_exists());
}

static int exit_at_once(void *arg)
{
    exit(0);
}

static void children_that_never_used_it_leave_the_parents_name(void **state)
{
    plait_arena_t *again;

    assert_int_equal(open_it(PLAIT_CREATE), 0);
    assert_int_equal(child_run(exit_at_once, NULL), 0);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); /* runs no fork handlers */
    if (pid == 0)
        exit(0);
    assert_int_equal(child_end(pid), 0);
    assert_true(name_exists());
    again = arena;
    pid = fork(); /* a stranger to our openings must still find us here */
    if (pid == 0) {
        plait_arena_free(again);
        _exit(open_it(PLAIT_CREATE) == EEXIST ? 0 : 1);
    }
    assert_int_equal(child_end(pid), 0);
    assert_int_equal(plait_arena_free(again), 0);
    assert_false(name_exists());
}

static void the_last_of_several_that_exit_at_once_removes_the_name(void **state)
{
    for (int round = 0; round < 30; round++) {
        pid_t pids[3];

        for (int i = 0; i < 3; i++)
            pids[i] = child_start(open_and_exit, NULL);
        for (int i = 0; i < 3; i++)
            assert_int_equal(child_end(pids[i]), 0);
        assert_false(name_exists());
    }
}

static int handler_result = 1;

static void use_it_in_a_handler(void)
{
    void *memory;

    handler_result = plait_arena_alloc(arena, 100, &memory) || plait_arena_publish(arena, "late", memory);
    if (handler_result)
        _exit(2);
}

static int exit_with_a_handler(void *arg)
{
    atexit(use_it_in_a_handler); /* before the arena is there: runs after handlers that are registered later */
    exit(open_it(PLAIT_CREATE));
}

static void exit_handlers_of_the_program_find_it_open(void **state)
{
    assert_int_equal(child_run(exit_with_a_handler, NULL), 0);
    assert_false(name_exists());
}

/* ---- Threads that go on ----------------------------------------------------------------- */

static void *use_it_for_ever(void *arg)
{
    plait_lock_t *lock = arg;

    for (;;) {
        void *memory;

        if (plait_arena_alloc(arena, 300 * 1024, &memory) == 0) {
            memset(memory, 1, 300 * 1024);
            plait_arena_dealloc(arena, memory);
        }
        plait_lock_acquire(lock, PLAIT_FOREVER);
        plait_lock_release(lock);
        plait_arena_publish(arena, "x", lock);
        plait_arena_unpublish(arena, "x");
    }
    return NULL;
}

static int exit_with_busy_threads(void *arg)
{
    plait_lock_t *lock;
    pthread_t thread;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = 4u << 20 }) ||
        plait_arena_alloc(arena, sizeof *lock, (void **)&lock) || plait_lock_init(lock, PLAIT_SHARED))
        return 1;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread, NULL, use_it_for_ever, lock))
            return 2;
    plait_sleep(0.002);
    exit(0);
}

/* Several at once, so that some find what another has just signed off, or made anew. */
static void threads_that_run_on_at_exit_do_no_harm(void **state)
{
    for (int round = 0; round < 20; round++) {
        pid_t pids[3];

        for (int i = 0; i < 3; i++)
            pids[i] = child_start(exit_with_busy_threads, NULL);
        for (int i = 0; i < 3; i++)
            assert_int_equal(child_end(pids[i]), 0);
        assert_false(name_exists());
    }
}

/* ---- A library that is loaded and unloaded, beside the one in this program ---- */

static int (*its_new)(plait_arena_t **, const struct plait_arena_opts *, size_t);
static int (*its_usage)(plait_arena_t *, size_t *, size_t *, size_t *);

static void *take_part_until_told(void *arg)
{
    plait_sem_t *sems = arg;

    its_usage(arena, NULL, NULL, NULL);
    plait_sem_release(&sems[0], 1);
    plait_sem_acquire(&sems[1], 1, PLAIT_FOREVER);
    return NULL; /* and leaves, by code of the library */
}

static int unload_it_and_go_on(void *path)
{
    struct plait_arena_opts opts = { .name = name, .limit = 1u << 20 };
    plait_sem_t sems[2] = { PLAIT_SEM_INIT(0), PLAIT_SEM_INIT(0) };
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    pthread_t thread;

    if (!library)
        return 1;
    *(void **)&its_new = dlsym(library, "plait_arena_new_sized");
    *(void **)&its_usage = dlsym(library, "plait_arena_usage");
    if (!its_new || !its_usage || its_new(&arena, &opts, sizeof opts))
        return 2;
    if (pthread_create(&thread, NULL, take_part_until_told, sems))
        return 3;
    plait_sem_acquire(&sems[0], 1, PLAIT_FOREVER);
    dlclose(library);
    plait_sem_release(&sems[1], 1);
    pthread_join(thread, NULL);
    exit(0);
}

static void library_that_was_unloaded_does_its_duty_still(void **state)
{
    const char *path = getenv("PLAIT_LIBRARY"), *instrumented = getenv("PLAIT_INSTRUMENTED");

    if (!path || access(path, R_OK) != 0 || (instrumented && strcmp(instrumented, "yes") == 0))
        skip();
    assert_int_equal(child_run(unload_it_and_go_on, (void *)(uintptr_t)path), 0);
    assert_false(name_exists());
}

/* ---- The door --------------------------------------------------------------------------- */

/* Another program that looks for leftovers may be standing there for a moment. */
static int stand_at_the_door(void)
{
    char file[80];
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DOOR, .l_len = 1 };
    int fd;

    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fcntl(fd, F_OFD_SETLKW, &lock) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

struct caller {
    pthread_t thread;
    plait_arena_t *arena;
    uint32_t done; /* atomic */
    int err;
};

static void *open_in_thread(void *arg)
{
    struct caller *c = arg;

    c->err = plait_arena_new(&c->arena, &(struct plait_arena_opts){ .name = name, .limit = 1u << 20 });
    store_release(&c->done, 1);
    return NULL;
}

static void *free_in_thread(void *arg)
{
    struct caller *c = arg;

    c->err = plait_arena_free(c->arena);
    store_release(&c->done, 1);
    return NULL;
}

static int nothing(void *arg)
{
    return 0;
}

/* All that an arena can do, on another one. */
static void use_another(void)
{
    plait_arena_t *other;
    plait_lock_t *lock;

    assert_int_equal(plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(other, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_ptr_equal(plait_arena_of(lock), other);
    assert_int_equal(child_run(nothing, NULL), 0); /* fork handlers */
    assert_int_equal(plait_arena_free(other), 0);
}

static void one_who_stands_at_the_door_delays_only_those_who_come_there(void **state)
{
    struct caller opener = { .err = -1 }, closer = { .err = -1 };
    int door;

    assert_int_equal(open_it(PLAIT_CREATE), 0);
    door = stand_at_the_door();
    assert_true(door >= 0);
    assert_int_equal(pthread_create(&opener.thread, NULL, open_in_thread, &opener), 0);
    for (int i = 0; i < 20; i++)
        use_another();
    assert_int_equal(load_acquire(&opener.done), 0);
    close(door);
    pthread_join(opener.thread, NULL);
    assert_int_equal(opener.err, 0);
    assert_int_equal(plait_arena_free(opener.arena), 0);

    door = stand_at_the_door();
    assert_true(door >= 0);
    closer.arena = arena;
    assert_int_equal(pthread_create(&closer.thread, NULL, free_in_thread, &closer), 0);
    for (int i = 0; i < 20; i++)
        use_another();
    assert_int_equal(load_acquire(&closer.done), 0);
    close(door);
    pthread_join(closer.thread, NULL);
    assert_int_equal(closer.err, 0);
    assert_false(name_exists());
}

static int exit_though_somebody_stands_at_the_door(void *arg)
{
    int door;

    if (open_it(PLAIT_CREATE))
        return 1;
    door = stand_at_the_door();
    if (door < 0)
        return 2;
    exit(0);
}

static void exit_does_not_wait_for_ever_at_the_door(void **state)
{
    assert_int_equal(child_end_by(child_start(exit_though_somebody_stands_at_the_door, NULL), 30), 0);
    assert_true(name_exists());
    assert_int_equal(open_it(PLAIT_OPEN), ENOENT); /* recognised, and cleaned up */
    assert_false(name_exists());
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, name_it, look_what_is_left)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(name_is_gone_after_exit),
        CASE(name_is_gone_after_main_has_returned),
        CASE(name_is_gone_after_a_process_target_has_returned),
        CASE(name_stays_while_somebody_else_has_it_open),
        CASE(children_that_never_used_it_leave_the_parents_name),
        CASE(the_last_of_several_that_exit_at_once_removes_the_name),
        CASE(exit_handlers_of_the_program_find_it_open),
        CASE(threads_that_run_on_at_exit_do_no_harm),
        CASE(library_that_was_unloaded_does_its_duty_still),
        CASE(one_who_stands_at_the_door_delays_only_those_who_come_there),
        CASE(exit_does_not_wait_for_ever_at_the_door),
    };

    if (argc == 3 && strcmp(argv[1], "return") == 0) {
        snprintf(name, sizeof name, "%s", argv[2]);
        return open_it(PLAIT_CREATE);
    }
    if (plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
