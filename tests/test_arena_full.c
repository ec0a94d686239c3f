/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: a system that has no more memory, files, or address space answers, and never with SIGBUS. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/watched.h"

enum { CANNOT = 77 };

/* What the wrapped fallocate answers: the real one, until `refuse_after` calls; then `refuse_times` times an error. */
static int refuse_after, refuse_times, refuse_with;

int __real_fallocate(int fd, int mode, off_t offset, off_t length);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
    if (refuse_after > 0) {
        refuse_after--;
    } else if (refuse_times > 0) {
        refuse_times--;
        errno = refuse_with;
        return -1;
    }
    return __real_fallocate(fd, mode, offset, length);
}

static void refuse(int after, int times, int with)
{
    refuse_after = after;
    refuse_times = times;
    refuse_with = with;
}

static int allow_all(void **state)
{
    refuse(0, 0, 0);
    return 0;
}

static int make_small(plait_arena_t **out)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .limit = 16 << 20, .participants = 16 });
}

static void no_memory_for_a_new_arena_is_ENOSPC(void **state)
{
    int before = count_descriptors();
    char name[40], file[60];
    plait_arena_t *a;

    snprintf(name, sizeof name, "full-%d", (int)getpid());
    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    refuse(0, 1, ENOSPC);
    assert_int_equal(make_small(&a), ENOSPC);
    assert_null(a);
    refuse(0, 1, ENOSPC);
    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .name = name }), ENOSPC);
    assert_int_equal(access(file, F_OK), -1);
    assert_int_equal(count_descriptors(), before);
}

static void no_memory_for_a_block_is_ENOSPC_and_costs_nothing(void **state)
{
    const size_t sizes[] = { 100000, 300000, 5 << 20 };
    plait_arena_t *a;
    void *memory;

    for (int after = 0; after < 3; after++) {

        assert_int_equal(make_small(&a), 0);
        for (size_t i = 0; i < 3; i++) {
            refuse(after, 1000, ENOSPC);
            while (plait_arena_alloc(a, sizes[i], &memory) == 0)
                memset(memory, 1, sizes[i]);
            assert_int_equal(plait_arena_alloc(a, sizes[i], &memory), ENOSPC);
            refuse(0, 0, 0);
            assert_int_equal(plait_arena_check(a, NULL, 0), 0);
        }
        assert_int_equal(plait_arena_alloc(a, 100000, &memory), 0);
        memset(memory, 1, 100000);
        assert_int_equal(plait_arena_free(a), 0);
    }
}

static void interrupted_reserving_is_tried_again(void **state)
{
    plait_arena_t *a;
    void *memory;

    refuse(0, 3, EINTR);
    assert_int_equal(make_small(&a), 0);
    refuse(0, 20, EINTR);
    assert_int_equal(plait_arena_alloc(a, 5 << 20, &memory), 0);
    assert_int_equal(refuse_times, 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void tick(int signal_number)
{
}

/* The kernel's fallocate begins afresh after each signal. */
static int reserve_among_ticks(void *unused)
{
    struct itimerval each = { { 0, 2000 }, { 0, 2000 } };
    struct sigaction action = { .sa_handler = tick };
    plait_arena_t *a;
    uint64_t offset;

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each, NULL);
    if (plait_arena_new(&a, &(struct plait_arena_opts){ .limit = 256 << 20, .participants = 32768 }))
        return 1;
    if (plait__arena_alloc_raw(a->base, 128 << 20, &offset))
        return 2;
    return plait_arena_free(a) ? 3 : 0;
}

static void ticking_timer_does_not_keep_a_large_block_away(void **state)
{
    assert_int_equal(child_run(reserve_among_ticks, NULL), 0);
}

static void file_system_that_cannot_reserve_is_tolerated(void **state)
{
    plait_arena_t *a;
    void *memory;

    refuse(0, 1000, EOPNOTSUPP);
    assert_int_equal(make_small(&a), 0);
    assert_int_equal(plait_arena_alloc(a, 1 << 20, &memory), 0);
    memset(memory, 1, 1 << 20);
    assert_int_equal(plait_arena_dealloc(a, memory), 0);
    assert_int_equal(plait_arena_alloc(a, 1 << 20, &memory), 0);
    memset(memory, 1, 1 << 20);
    assert_int_equal(plait_arena_free(a), 0);
}

/* ---- Limits of the process ---- */

static int with_limit(int resource, rlim_t most, int expected)
{
    struct rlimit limit = { most, most };
    plait_arena_t *a;

    if (setrlimit((__typeof__(RLIMIT_AS))resource, &limit))
        return CANNOT;
    return plait_arena_new(&a, &(struct plait_arena_opts){ .limit = (size_t)1 << 40, .participants = 16 }) != expected;
}

static int with_small_files(void *unused) { return with_limit(RLIMIT_FSIZE, 1 << 20, ENOSPC); }
static int with_few_files(void *unused) { return with_limit(RLIMIT_NOFILE, 3, EMFILE); }
static int with_little_space(void *unused) { return with_limit(RLIMIT_AS, (rlim_t)1 << 36, ENOMEM); }

static void limits_of_the_process_are_answers(void **state)
{
    assert_int_equal(child_run(with_small_files, NULL), 0);
    if (!RUNNING_ON_VALGRIND) /* which wants files of its own */
        assert_int_equal(child_run(with_few_files, NULL), 0);
    if (!is_watched())
        assert_int_equal(child_run(with_little_space, NULL), 0);
}

/* ---- A /dev/shm of our own, in a child, with `bytes` in it ---- */

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        _exit(CANNOT);
    close(fd);
}

static bool have_own_shm(const char *size)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) {
        char map[40];

        snprintf(map, sizeof map, "0 %u 1", (unsigned)geteuid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        write_file("/proc/self/setgroups", "deny");
        write_file("/proc/self/uid_map", map);
    }
    return mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 && mount("shm", "/dev/shm", "tmpfs", 0, size) == 0;
}

static const struct plait_arena_opts in_own_shm = { .name = "x", .limit = 64 << 20, .participants = 16 };

static int fill_it(void *unused)
{
    plait_arena_t *a;
    void *memory, *last = NULL;
    int err, count = 0;

    if (!have_own_shm("size=2m"))
        return CANNOT;
    if (plait_arena_new(&a, &in_own_shm))
        return 1;
    while ((err = plait_arena_alloc(a, 50000, &memory)) == 0) {
        memset(memory, 1, 50000);
        last = memory;
        count++;
    }
    if (err != ENOSPC || count < 20)
        return 2;
    if (plait_arena_check(a, NULL, 0) || plait_arena_dealloc(a, last) || plait_arena_alloc(a, 50000, &memory))
        return 3;
    return plait_arena_free(a) || count_in("/dev/shm", "") ? 4 : 0;
}

static int find_it_full(void *unused)
{
    plait_arena_t *a;

    if (!have_own_shm("size=64k"))
        return CANNOT;
    return plait_arena_new(&a, &(struct plait_arena_opts){ .name = "x" }) != ENOSPC || count_in("/dev/shm", "");
}

/* Pages that were given back may be another's when the block is wanted again. */
static int lose_pages_to_others(void *unused)
{
    static char page[4096];
    plait_arena_t *a;
    void *memory;
    int fd;

    if (!have_own_shm("size=4m"))
        return CANNOT;
    if (plait_arena_new(&a, &in_own_shm) || plait_arena_alloc(a, 2 << 20, &memory))
        return 1;
    memset(memory, 1, 2 << 20);
    if (plait_arena_dealloc(a, memory))
        return 2;
    fd = open("/dev/shm/filler", O_CREAT | O_RDWR, 0600);
    while (write(fd, page, sizeof page) > 0)
        ;
    if (plait_arena_alloc(a, 2 << 20, &memory) != ENOSPC || plait_arena_check(a, NULL, 0))
        return 3;
    if (ftruncate(fd, 0) || plait_arena_alloc(a, 2 << 20, &memory))
        return 4;
    memset(memory, 1, 2 << 20);
    return plait_arena_check(a, NULL, 0) ? 5 : 0;
}

/* What was reserved in vain is there for others. */
static int try_too_much(void *unused)
{
    plait_arena_t *a;
    void *memory;

    if (!have_own_shm("size=8m"))
        return CANNOT;
    if (plait_arena_new(&a, &in_own_shm))
        return 1;
    if (plait_arena_alloc(a, 30 << 20, &memory) != ENOSPC)
        return 2;
    if (plait_arena_alloc(a, 5 << 20, &memory))
        return 3;
    memset(memory, 1, 5 << 20);
    return plait_arena_check(a, NULL, 0) ? 4 : 0;
}

static void in_own_namespace(int (*body)(void *))
{
    int answer = child_run(body, NULL);

    if (answer == CANNOT)
        skip();
    assert_int_equal(answer, 0);
}

static void full_shm_is_ENOSPC_from_alloc(void **state) { in_own_namespace(fill_it); }
static void full_shm_is_ENOSPC_from_new(void **state) { in_own_namespace(find_it_full); }
static void pages_lost_to_others_are_ENOSPC(void **state) { in_own_namespace(lose_pages_to_others); }
static void memory_reserved_in_vain_is_given_back(void **state) { in_own_namespace(try_too_much); }

#define INJECTED(f) cmocka_unit_test_teardown(f, allow_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INJECTED(no_memory_for_a_new_arena_is_ENOSPC),
        INJECTED(no_memory_for_a_block_is_ENOSPC_and_costs_nothing),
        INJECTED(interrupted_reserving_is_tried_again),
        cmocka_unit_test(ticking_timer_does_not_keep_a_large_block_away),
        INJECTED(file_system_that_cannot_reserve_is_tolerated),
        cmocka_unit_test(limits_of_the_process_are_answers),
        cmocka_unit_test(full_shm_is_ENOSPC_from_alloc),
        cmocka_unit_test(full_shm_is_ENOSPC_from_new),
        cmocka_unit_test(pages_lost_to_others_are_ENOSPC),
        cmocka_unit_test(memory_reserved_in_vain_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
