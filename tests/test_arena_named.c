/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: arenas with a name. Other programs are this one, started afresh with a mode. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

static char name[64], file[80]; /* of this run alone */

static int open_as(plait_arena_t **arena_out, enum plait_open how)
{
    return plait_arena_new(arena_out, &(struct plait_arena_opts){ .name = name, .limit = 1 << 20,
                                                                  .participants = 16, .open = how });
}

static bool file_exists(void)
{
    return access(file, F_OK) == 0;
}

static int no_file(void **state)
{
    unlink(file);
    return 0;
}

static int no_file_is_left(void **state)
{
    bool left = file_exists();

    unlink(file);
    if (left)
        print_error("left behind: %s\n", file);
    return left;
}

/* ---- Opening and closing ---- */

static void open_and_create_mean_what_they_say(void **state)
{
    plait_arena_t *a, *b;

    assert_int_equal(open_as(&a, PLAIT_OPEN), ENOENT);
    assert_null(a);
    assert_false(file_exists());
    assert_int_equal(open_as(&a, PLAIT_CREATE), 0);
    assert_true(file_exists());
    assert_int_equal(open_as(&b, PLAIT_CREATE), EEXIST);
    assert_null(b);
    assert_int_equal(open_as(&b, PLAIT_OPEN), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(plait_arena_free(b), 0);
    assert_int_equal(open_as(&b, PLAIT_OPEN_OR_CREATE), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(plait_arena_free(a), 0);
    assert_true(file_exists());
    assert_int_equal(plait_arena_free(b), 0);
    assert_false(file_exists());
    assert_int_equal(open_as(&a, PLAIT_OPEN_OR_CREATE), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void name_that_is_bad_is_refused(void **state)
{
    char longest[202];
    const char *bad[] = { "", "/", "a/b", "/a", "a/", longest };
    plait_arena_t *a;

    memset(longest, 'x', 201);
    longest[201] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .name = bad[i] }), EINVAL);
        assert_int_equal(plait_arena_unlink(bad[i]), EINVAL);
    }
    assert_int_equal(plait_arena_unlink(NULL), EINVAL);
    longest[200] = 0;
    memcpy(longest, name, strlen(name));
    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .name = longest, .limit = 1 << 20,
                                                                     .participants = 4 }), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void limit_of_the_creator_counts(void **state)
{
    plait_arena_t *a, *b;
    size_t limit;

    assert_int_equal(open_as(&a, PLAIT_CREATE), 0);
    assert_int_equal(plait_arena_new(&b, &(struct plait_arena_opts){ .name = name, .limit = 64 << 20 }), 0);
    assert_int_equal(plait_arena_usage(b, NULL, NULL, &limit), 0);
    assert_int_equal(limit, 1 << 20);
    assert_int_equal(plait_arena_free(a), 0);
    assert_int_equal(plait_arena_free(b), 0);
}

static mode_t mode_of_file(void)
{
    struct stat st;

    assert_int_equal(stat(file, &st), 0);
    return st.st_mode & 07777;
}

static void permissions_are_those_asked_for_whatever_the_umask(void **state)
{
    const unsigned modes[] = { 0, 0600, 0640, 0660, 0666 };
    mode_t mask = umask(077);
    plait_arena_t *a;

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .name = name, .limit = 1 << 20,
                                                                         .participants = 4, .mode = modes[i] }), 0);
        assert_int_equal(mode_of_file(), modes[i] ? modes[i] : 0600);
        assert_int_equal(plait_arena_free(a), 0);
    }
    umask(mask);
}

static int open_as_another_user(void *arg)
{
    plait_arena_t *a;
    int err;

    if (setgid(65534) || setuid(65534))
        return 100;
    err = open_as(&a, PLAIT_OPEN_OR_CREATE);
    if (err)
        return err;
    return plait_arena_free(a) ? 101 : 0;
}

static void permissions_decide_over_other_users(void **state)
{
    plait_arena_t *a;

    if (geteuid() != 0)
        skip();
    assert_int_equal(open_as(&a, PLAIT_CREATE), 0);
    assert_int_equal(child_run(open_as_another_user, NULL), EACCES);
    assert_int_equal(plait_arena_free(a), 0);
    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .name = name, .limit = 1 << 20,
                                                                     .participants = 8, .mode = 0666 }), 0);
    assert_int_equal(child_run(open_as_another_user, NULL), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void file_laid_by_another_user_is_not_trusted(void **state)
{
    plait_arena_t *a;
    int fd;

    if (geteuid() != 0)
        skip();
    fd = open(file, O_CREAT | O_EXCL | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchown(fd, 65534, 65534), 0);
    close(fd);
    assert_int_equal(open_as(&a, PLAIT_OPEN_OR_CREATE), EACCES);
    unlink(file);
}

static void unlinked_arena_goes_on_and_its_name_is_free(void **state)
{
    plait_arena_t *a, *b;
    void *memory;

    assert_int_equal(plait_arena_unlink(name), ENOENT);
    assert_int_equal(open_as(&a, PLAIT_CREATE), 0);
    assert_int_equal(plait_arena_unlink(name), 0);
    assert_false(file_exists());
    assert_int_equal(plait_arena_alloc(a, 300000, &memory), 0);
    memset(memory, 1, 300000);
    assert_int_equal(open_as(&b, PLAIT_CREATE), 0);
    assert_ptr_not_equal(a, b);
    assert_int_equal(plait_arena_free(a), 0);
    assert_true(file_exists()); /* it is the other's name now */
    assert_int_equal(plait_arena_free(b), 0);
}

static void opened_and_closed_many_times_leaves_no_descriptors(void **state)
{
    int before = count_descriptors();

    for (int i = 0; i < 100; i++) {
        plait_arena_t *a, *b;

        assert_int_equal(open_as(&a, PLAIT_OPEN_OR_CREATE), 0);
        assert_int_equal(open_as(&b, PLAIT_CREATE), EEXIST);
        assert_int_equal(open_as(&b, PLAIT_OPEN), 0);
        assert_int_equal(plait_arena_free(a), 0);
        assert_int_equal(plait_arena_free(b), 0);
        assert_int_equal(open_as(&b, PLAIT_OPEN), ENOENT);
    }
    assert_int_equal(count_descriptors(), before);
}

/* ---- Other programs ---- */

struct office {
    plait_lock_t lock;
    plait_sem_t done;
    plait_ref_t ref; /* to `number` */
    int number;      /* guarded by lock */
    int visitors;    /* guarded by lock */
    void *address;   /* of the office, in the last visitor's space */
};

/* mode "visit": attach, find the office by name and by reference, count. */
static int visit(void)
{
    struct office *office;
    plait_arena_t *a;
    int *number;

    if (open_as(&a, PLAIT_OPEN))
        return 1;
    if (plait_arena_lookup(a, "office", (void **)&office))
        return 2;
    if (plait_ref_open(office->ref, (void **)&number) || number != &office->number)
        return 3;
    for (int i = 0; i < 1000; i++) {
        if (plait_lock_acquire(&office->lock, PLAIT_FOREVER))
            return 4;
        ++*number;
        if (plait_lock_release(&office->lock))
            return 5;
    }
    plait_lock_acquire(&office->lock, PLAIT_FOREVER);
    office->visitors++;
    office->address = office;
    plait_lock_release(&office->lock);
    return plait_arena_free(a) ? 6 : 0;
}

static struct office *make_office(plait_arena_t *a)
{
    struct office *office;

    assert_int_equal(plait_arena_alloc(a, sizeof *office, (void **)&office), 0);
    assert_int_equal(plait_lock_init(&office->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_sem_init(&office->done, 0, PLAIT_SHARED), 0);
    assert_int_equal(plait_ref_of(&office->number, &office->ref), 0);
    assert_int_equal(plait_arena_publish(a, "office", office), 0);
    return office;
}

static void unrelated_programs_meet_at_different_addresses(void **state)
{
    struct office *office;
    pid_t visitors[4];
    plait_arena_t *a;

    assert_int_equal(open_as(&a, PLAIT_CREATE), 0);
    office = make_office(a);
    for (int i = 0; i < 4; i++)
        visitors[i] = child_exec("visit", name);
    for (int i = 0; i < 4; i++)
        assert_int_equal(child_end(visitors[i]), 0);
    assert_int_equal(office->number, 4000);
    assert_int_equal(office->visitors, 4);
    assert_int_equal(plait_arena_check(a, NULL, 0), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

/* mode "stay": make or open the arena, say so on the standard output, stay until killed. */
static int stay(void)
{
    plait_arena_t *a;
    void *memory;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (open_as(&a, PLAIT_OPEN_OR_CREATE) || plait_arena_alloc(a, 100, &memory) ||
        plait_arena_publish(a, "mark", memory) || write(1, "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static pid_t start_stayer(void)
{
    int ends[2];
    char c = 0;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        exec_self("stay", name);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 1);
    close(ends[0]);
    return pid;
}

static void arena_of_the_killed_is_made_afresh(void **state)
{
    plait_arena_t *a;
    void *found;

    child_kill(start_stayer());
    assert_true(file_exists());
    assert_int_equal(open_as(&a, PLAIT_CREATE), 0); /* nobody is there: no EEXIST */
    assert_int_equal(plait_arena_lookup(a, "mark", &found), ENOENT);
    assert_int_equal(plait_arena_free(a), 0);
    assert_false(file_exists());

    child_kill(start_stayer());
    assert_int_equal(open_as(&a, PLAIT_OPEN_OR_CREATE), 0);
    assert_int_equal(plait_arena_lookup(a, "mark", &found), ENOENT);
    assert_int_equal(plait_arena_free(a), 0);
}

static void arena_of_the_killed_cannot_be_opened(void **state)
{
    plait_arena_t *a;

    child_kill(start_stayer());
    assert_int_equal(open_as(&a, PLAIT_OPEN), ENOENT);
    assert_false(file_exists());
}

static void arena_lives_while_one_of_its_users_does(void **state)
{
    pid_t stayer = start_stayer();
    plait_arena_t *a;
    void *found;

    assert_int_equal(open_as(&a, PLAIT_CREATE), EEXIST);
    assert_int_equal(open_as(&a, PLAIT_OPEN), 0);
    assert_int_equal(plait_arena_lookup(a, "mark", &found), 0);
    assert_int_equal(plait_arena_free(a), 0);
    assert_true(file_exists());
    assert_int_equal(open_as(&a, PLAIT_OPEN), 0);
    child_kill(stayer);
    assert_int_equal(plait_arena_lookup(a, "mark", &found), 0);
    assert_int_equal(plait_arena_free(a), 0); /* the last who lives */
    assert_false(file_exists());
}

/* ---- Fork ---- */

struct relay {
    plait_sem_t go, there;
};

static plait_arena_t *inherited;

static int is_the_only_user_now(void *arg)
{
    struct relay *relay = arg;
    plait_arena_t *again;

    plait_sem_release(&relay->there, 1);
    if (plait_sem_acquire(&relay->go, 1, plait_after(CHILD_SECONDS)))
        return 1;
    if (!file_exists())
        return 2;
    if (open_as(&again, PLAIT_CREATE) != EEXIST)
        return 3;
    if (open_as(&again, PLAIT_OPEN) || again != inherited || plait_arena_free(again))
        return 4;
    if (plait_arena_free(inherited))
        return 5;
    return file_exists() ? 6 : 0;
}

/* The parent closes before the child has run a single instruction of its own, or after: it is the child's all the same. */
static void child_keeps_the_name_that_its_parent_closes(void **state)
{
    for (int round = 0; round < 60; round++) {
        struct relay *relay = NULL;
        plait_arena_t *side;
        pid_t child;

        assert_int_equal(plait_arena_new(&side, &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 4 }), 0);
        assert_int_equal(plait_arena_alloc(side, sizeof *relay, (void **)&relay), 0);
        assert_int_equal(plait_sem_init(&relay->go, 0, PLAIT_SHARED), 0);
        assert_int_equal(plait_sem_init(&relay->there, 0, PLAIT_SHARED), 0);
        assert_int_equal(open_as(&inherited, PLAIT_CREATE), 0);
        child = child_start(is_the_only_user_now, relay);
        if (round % 2)
            assert_int_equal(plait_sem_acquire(&relay->there, 1, PLAIT_FOREVER), 0);
        assert_int_equal(plait_arena_free(inherited), 0);
        plait_sem_release(&relay->go, 1);
        assert_int_equal(child_end(child), 0);
        assert_int_equal(plait_arena_free(side), 0);
    }
}

static int close_it(void *unused)
{
    return plait_arena_free(inherited) || !file_exists() ? 1 : 0;
}

static void child_that_closes_leaves_the_name_to_its_parent(void **state)
{
    plait_arena_t *again;

    assert_int_equal(open_as(&inherited, PLAIT_CREATE), 0);
    assert_int_equal(child_run(close_it, NULL), 0);
    assert_int_equal(open_as(&again, PLAIT_OPEN), 0);
    assert_ptr_equal(again, inherited);
    assert_int_equal(plait_arena_free(again), 0);
    assert_int_equal(plait_arena_free(inherited), 0);
}

static int count_own_descriptors(void *arg)
{
    return count_descriptors() != *(int *)arg;
}

static void fork_leaves_no_descriptors(void **state)
{
    int before;

    assert_int_equal(open_as(&inherited, PLAIT_CREATE), 0);
    before = count_descriptors();
    for (int i = 0; i < 20; i++)
        assert_int_equal(child_run(count_own_descriptors, &before), 0);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(plait_arena_free(inherited), 0);
}

/* ---- Many at once ---- */

/* mode "hammer": open, use and close again and again; what is created is whole, or not seen. */
static int hammer(void)
{
    plait_time_t until = plait_after(0.7);

    while (plait_now() < until) {
        struct office *office = NULL;
        plait_arena_t *a;
        int err = open_as(&a, PLAIT_OPEN_OR_CREATE);

        if (err)
            return err;
        if (plait_arena_alloc(a, sizeof *office, (void **)&office) && office)
            return 201;
        if (plait_arena_check(a, NULL, 0))
            return 202;
        if (office && plait_arena_dealloc(a, office))
            return 203;
        if (plait_arena_free(a))
            return 204;
    }
    return 0;
}

static void opening_and_closing_by_many_programs_never_fails(void **state)
{
    pid_t pids[6];

    for (int i = 0; i < 6; i++)
        pids[i] = child_exec("hammer", name);
    for (int i = 0; i < 6; i++)
        assert_int_equal(child_end(pids[i]), 0);
}

/* ---- Programs that close what they do not know ---- */

static int loses_its_descriptor(void *unused)
{
    char page[4096], back[4096], path[] = "/tmp/plait-test-XXXXXX";
    plait_arena_t *a;
    void *memory;
    int fd, taken;

    if (plait_arena_new(&a, NULL) || plait_arena_alloc(a, 1 << 20, &memory))
        return 1;
    fd = plait__arena_fd(a);
    taken = mkstemp(path);
    unlink(path);
    memset(page, 'x', sizeof page);
    for (int i = 0; i < 400; i++)
        if (write(taken, page, sizeof page) != sizeof page)
            return 2;
    if (dup2(taken, fd) != fd)
        return 3;
    if (plait_arena_dealloc(a, memory)) /* would give pages back */
        return 4;
    if (plait_arena_alloc(a, 8 << 20, &memory) != ENOSPC)
        return 5;
    if (plait_arena_free(a) || fcntl(fd, F_GETFD) < 0)
        return 6;
    for (int i = 0; i < 400; i++)
        if (pread(taken, back, sizeof back, i * 4096) != sizeof back || memcmp(back, page, sizeof page))
            return 7;
    return lseek(taken, 0, SEEK_END) == 400 * 4096 ? 0 : 8;
}

/* ---- Names within an arena ---- */

/*
 * An object's names go with it, whoever gave them: so each is free again, and none leads to what comes to lie in that place.
 */
#define NAMES_GO_WITH_IT(noun, given)                                                                                       \
    static void names_of_a_##noun##_go_with_it(void **state)                                                               \
    {                                                                                                                      \
        struct plait_##noun##_opts opts = given;                                                                           \
        plait_##noun##_t *a, *b, *c;                                                                                       \
                                                                                                                           \
        opts.name = "first";                                                                                               \
        opts.arena = private_arena();                                                                                      \
        assert_int_equal(plait_##noun##_new(&a, &opts), 0);                                                                \
        assert_int_equal(plait_##noun##_publish(a, "too"), 0);                                                             \
        assert_int_equal(plait_##noun##_destroy(a), 0);                                                                    \
        assert_int_equal(plait_##noun##_lookup(&a, opts.arena, "first"), ENOENT);                                          \
        assert_int_equal(plait_##noun##_lookup(&a, opts.arena, "too"), ENOENT);                                            \
        opts.name = "second";                                                                                              \
        assert_int_equal(plait_##noun##_new(&b, &opts), 0); /* in the same place */                                        \
        opts.name = "first";                                                                                               \
        assert_int_equal(plait_##noun##_lookup(&c, opts.arena, "first"), ENOENT);                                          \
        assert_int_equal(plait_##noun##_new(&c, &opts), 0);                                                                \
        assert_int_equal(plait_##noun##_destroy(c), 0);                                                                    \
        assert_int_equal(plait_##noun##_lookup(&c, opts.arena, "second"), 0); /* and no other's */                         \
        assert_int_equal(plait_##noun##_free(c), 0);                                                                       \
        assert_int_equal(plait_##noun##_destroy(b), 0);                                                                    \
        assert_int_equal(plait_arena_free(opts.arena), 0);                                                                 \
    }

static plait_arena_t *private_arena(void)
{
    plait_arena_t *arena;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20 }), 0);
    return arena;
}

#define OPTS(...) { __VA_ARGS__ }

NAMES_GO_WITH_IT(queue, OPTS(.item_size = 8))
NAMES_GO_WITH_IT(dict, OPTS(0))
NAMES_GO_WITH_IT(list, OPTS(0))
NAMES_GO_WITH_IT(array, OPTS(.count = 4, .type = PLAIT_INT64))
NAMES_GO_WITH_IT(latest, OPTS(.value_size = 8))
NAMES_GO_WITH_IT(broadcast, OPTS(.item_size = 8, .maxsize = 4))

static void file_that_took_the_descriptors_place_is_left_alone(void **state)
{
    assert_int_equal(child_run(loses_its_descriptor, NULL), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, no_file, no_file_is_left)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(open_and_create_mean_what_they_say),
        CASE(name_that_is_bad_is_refused),
        CASE(limit_of_the_creator_counts),
        CASE(permissions_are_those_asked_for_whatever_the_umask),
        CASE(permissions_decide_over_other_users),
        CASE(file_laid_by_another_user_is_not_trusted),
        CASE(unlinked_arena_goes_on_and_its_name_is_free),
        CASE(opened_and_closed_many_times_leaves_no_descriptors),
        CASE(unrelated_programs_meet_at_different_addresses),
        CASE(arena_of_the_killed_is_made_afresh),
        CASE(arena_of_the_killed_cannot_be_opened),
        CASE(arena_lives_while_one_of_its_users_does),
        CASE(child_keeps_the_name_that_its_parent_closes),
        CASE(child_that_closes_leaves_the_name_to_its_parent),
        CASE(fork_leaves_no_descriptors),
        CASE(opening_and_closing_by_many_programs_never_fails),
        CASE(file_that_took_the_descriptors_place_is_left_alone),
        cmocka_unit_test(names_of_a_queue_go_with_it),
        cmocka_unit_test(names_of_a_dict_go_with_it),
        cmocka_unit_test(names_of_a_list_go_with_it),
        cmocka_unit_test(names_of_a_array_go_with_it),
        cmocka_unit_test(names_of_a_latest_go_with_it),
        cmocka_unit_test(names_of_a_broadcast_go_with_it),
    };

    if (argc > 2) {
        snprintf(name, sizeof name, "%.50s", argv[2]);
        snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
        return strcmp(argv[1], "visit") == 0 ? visit() : strcmp(argv[1], "stay") == 0 ? stay() : hammer();
    }
    snprintf(name, sizeof name, "named-%d", (int)getpid());
    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
