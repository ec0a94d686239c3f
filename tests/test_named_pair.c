/* SPDX-License-Identifier: MIT */
/* Two programs that know nothing of each other but a name share a queue; this one, started afresh twice. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

enum { ITEMS = 20000 };

struct job {
    uint64_t number, twice;
};

static char name[64], file[100];

static plait_arena_t *arena;
static plait_queue_t *jobs, *done;

/* Whoever comes first makes the queue; publishing decides between two who try. */
static int find_queue(plait_queue_t **queue, const char *queue_name)
{
    int err;

    while ((err = plait_queue_lookup(queue, arena, queue_name)) == ENOENT) {
        err = plait_queue_new(queue, &(struct plait_queue_opts){ .item_size = sizeof(struct job), .maxsize = 50,
                                                                 .arena = arena });
        if (err)
            return err;
        err = plait_queue_publish(*queue, queue_name);
        if (err == 0)
            return 0;
        plait_queue_destroy(*queue);
        if (err != EEXIST)
            return err;
    }
    return err;
}

static int attach(void)
{
    int err = plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = 4 << 20, .participants = 16 });

    if (err == 0)
        err = find_queue(&jobs, "jobs");
    return err ? err : find_queue(&done, "done");
}

static int detach(void)
{
    return plait_queue_free(jobs) || plait_queue_free(done) || plait_arena_free(arena);
}

static int produce(void)
{
    struct job last;

    if (attach())
        return 1;
    for (uint64_t i = 0; i < ITEMS; i++)
        if (plait_queue_put(jobs, &(struct job){ i, 2 * i }, plait_after(CHILD_SECONDS)))
            return 2;
    if (plait_queue_close(jobs))
        return 3;
    /* The last to leave takes the arena along: not before the other has come and got everything. */
    if (plait_queue_get(done, &last, plait_after(CHILD_SECONDS)) || last.number != ITEMS)
        return 4;
    return detach() ? 5 : 0;
}

static int consume(void)
{
    uint64_t expected = 0;
    struct job job;
    int err;

    if (attach())
        return 1;
    while ((err = plait_queue_get(jobs, &job, plait_after(CHILD_SECONDS))) == 0) {
        if (job.number != expected || job.twice != 2 * expected)
            return 2;
        expected++;
    }
    if (err != EPIPE || expected != ITEMS)
        return 3;
    if (plait_queue_put(done, &(struct job){ expected, 0 }, PLAIT_NOW))
        return 4;
    return detach() ? 5 : 0;
}

static void two_programs_share_a_queue_by_name(void **state)
{
    for (int round = 0; round < 6; round++) {
        const char *first = round % 2 ? "consume" : "produce";
        const char *second = round % 2 ? "produce" : "consume";
        pid_t a = child_exec(first, name), b = child_exec(second, name);

        assert_int_equal(child_end(a), 0);
        assert_int_equal(child_end(b), 0);
        assert_int_equal(access(file, F_OK), -1);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_programs_share_a_queue_by_name),
    };

    if (argc > 2) {
        snprintf(name, sizeof name, "%.50s", argv[2]);
        return strcmp(argv[1], "produce") == 0 ? produce() : consume();
    }
    snprintf(name, sizeof name, "pair-%d", (int)getpid());
    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
