/* SPDX-License-Identifier: MIT */
/* A worker that the kernel ends for want of memory: what its task's error says, and where that is known from. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <plait.h>

#include "exec/oom.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { PATIENCE = 60 /* seconds */, LIMIT = 192 << 20, TOO_MUCH = 1 << 30 };

static char root[64]; /* of the files that a case makes */

/* ---- Files ---- */

static bool write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

/* A file below `root`, with its folders. */
static void have(const char *name, const char *text)
{
    char full[256];

    snprintf(full, sizeof full, "%s%s", root, name);
    for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    assert_true(write_file(full, text));
}

static int make_root(void **state)
{
    strcpy(root, "/tmp/plait-oom-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *place) { return remove(name); }
static int remove_root(void **state) { return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

/* ---- Where it is known from ---- */

static void group_of_version_2(void **state)
{
    have("/proc/self/cgroup", "0::/a/b\n");
    have("/proc/vmstat", "oom_kill 99\n");
    have("/sys/fs/cgroup/a/b/memory.events", "low 0\nhigh 0\nmax 7\noom 5\noom_kill 3\noom_group_kill 1\n");
    assert_int_equal(plait__oom_kills(root), 3);
}

static void group_of_version_1(void **state)
{
    have("/proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/a\n1:cpu:/\n0::/\n");
    have("/proc/vmstat", "oom_kill 99\n");
    have("/sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
    assert_int_equal(plait__oom_kills(root), 4);
}

/* Its path is that outside of the container. */
static void group_of_a_container(void **state)
{
    have("/proc/self/cgroup", "4:memory:/docker/0123\n");
    have("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill 6\n");
    assert_int_equal(plait__oom_kills(root), 6);
}

static void whole_machine(void **state)
{
    have("/proc/self/cgroup", "4:memory:/away\nno more\n:\n0::/\n");
    have("/proc/vmstat", "nr_free_pages 1\noom_kills 5\nxoom_kill 6\noom_kill 8\nlast 1");
    assert_int_equal(plait__oom_kills(root), 8);
}

static void nowhere(void **state) { assert_int_equal(plait__oom_kills(root), 0); }

/* ---- A pool in a group with little memory ---- */

static int eat(plait_task_t *task, const void *arg, size_t size)
{
    char *memory = mmap(NULL, TOO_MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return errno;
    for (size_t i = 0; i < TOO_MUCH; i += 4096)
        memory[i] = 1;
    return 0;
}

static int end_by_itself(plait_task_t *task, const void *arg, size_t size) { return raise(SIGKILL); }
static int do_little(plait_task_t *task, const void *arg, size_t size) { return plait_task_return(task, "done", 5); }

static bool error_of(plait_pool_t *pool, plait_task_fn *fn, char *text, size_t size)
{
    plait_future_t *future = NULL;
    bool is_lost;

    if (plait_pool_apply_async(pool, fn, NULL, 0, &future) != 0)
        return false;
    is_lost = plait_future_get(future, NULL, NULL, plait_after(PATIENCE)) == EOWNERDEAD;
    snprintf(text, size, "%s", plait_future_error_text(future));
    plait_future_free(future);
    return is_lost;
}

enum { WELL, NO_GROUP, NO_POOL, NO_LOSS, NO_REASON, NO_WORK_AFTER, NO_OTHER_LOSS, WRONG_REASON };

/* In a child, whose nursery is made in the group as well. */
static int use_pool_in(void *procs)
{
    static const char reason[] = "killed by signal 9 (Killed), as memory ran out";
    plait_pool_t *pool;
    char text[256], number[32], done[5];
    size_t size = sizeof done;

    snprintf(number, sizeof number, "%d", (int)getpid());
    if (!write_file(procs, number))
        return NO_GROUP;
    if (plait_pool_new(&pool, &(struct plait_pool_opts){ .workers = 1, .backend = PLAIT_PROCESSES }) != 0)
        return NO_POOL;
    for (int i = 0; i < 2; i++) {
        if (!error_of(pool, eat, text, sizeof text))
            return NO_LOSS;
        if (!strstr(text, reason))
            return fprintf(stderr, "%s\n", text), NO_REASON;
        if (plait_pool_apply(pool, do_little, NULL, 0, done, &size, plait_after(PATIENCE)) != 0)
            return NO_WORK_AFTER;
        if (!error_of(pool, end_by_itself, text, sizeof text))
            return NO_OTHER_LOSS;
        if (!strstr(text, "killed by signal 9 (Killed)") || strstr(text, "memory"))
            return fprintf(stderr, "%s\n", text), WRONG_REASON;
    }
    plait_pool_close(pool);
    return plait_pool_join(pool, plait_after(PATIENCE)) || plait_pool_free(pool) ? NO_POOL : WELL;
}

/* A group of ours with that limit, its name in `group`; false: we may have none. */
static bool make_group(char *group, size_t size)
{
    static const struct { const char *top, *limit, *swap; } versions[] = {
        { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes" },
        { "/sys/fs/cgroup", "memory.max", "memory.swap.max" },
    };
    char name[256], limit[32];

    for (size_t i = 0; i < 2; i++) {
        snprintf(group, size, "%s/plait-test-%d", versions[i].top, (int)getpid());
        if (mkdir(group, 0700) != 0)
            continue;
        snprintf(limit, sizeof limit, "%d", LIMIT);
        snprintf(name, sizeof name, "%s/%s", group, versions[i].limit);
        if (access(name, W_OK) == 0 && write_file(name, limit)) {
            snprintf(name, sizeof name, "%s/%s", group, versions[i].swap);
            if (access(name, W_OK) == 0)
                write_file(name, i == 0 ? limit : "0");
            return true;
        }
        rmdir(group);
    }
    return false;
}

static void worker_that_eats_all_memory_is_known_by_that(void **state)
{
    plait_time_t end = plait_after(PATIENCE);
    char group[128], procs[160];
    int answer;

    if (!make_group(group, sizeof group)) {
        fprintf(stderr, "not tried: there can be no memory control group here\n");
        skip();
    }
    snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
    answer = child_run(use_pool_in, procs);
    while (rmdir(group) != 0 && plait_now() < end) /* until its nursery is gone, too */
        plait_sleep(0.01);
    assert_int_equal(answer, WELL);
    assert_true(access(group, F_OK) != 0);
}

#define WITH_FILES(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WITH_FILES(group_of_version_2),
        WITH_FILES(group_of_version_1),
        WITH_FILES(group_of_a_container),
        WITH_FILES(whole_machine),
        WITH_FILES(nowhere),
        cmocka_unit_test(worker_that_eats_all_memory_is_known_by_that),
    };

    if (plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
