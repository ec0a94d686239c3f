/* SPDX-License-Identifier: MIT */
/*
 * The contract of descriptors as entries of plait_wait_any, run twice: where the kernel sleeps on words and descriptors at once, if
 * it can, and behind a filter that refuses that, where a thread stands between.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "wait/ring.h"

enum { SECONDS = 30, MANY = 2000, NR_IO_URING_SETUP = 425, NO_SECCOMP = 77 };

static bool refused; /* we are behind the filter */

static void descriptor_is_an_entry(void **state)
{
    plait_queue_t *queue;
    uint64_t item = 7;
    size_t which;
    short revents = 0;
    char byte;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    struct plait_wait_entry entries[] = { plait_any_fd(ends[0], POLLIN, &revents), plait_any_queue_get(queue, &item) };

    assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.05)), ETIMEDOUT);
    assert_int_equal(which, 2);
    assert_int_equal(plait_queue_put(queue, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(SECONDS)), 0);
    assert_int_equal(which, 1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(SECONDS)), 0);
    assert_int_equal(which, 0);
    assert_int_equal(revents, POLLIN);
    assert_int_equal(read(ends[0], &byte, 1), 1);

    entries[0] = plait_any_fd(ends[1], POLLOUT, NULL);
    assert_int_equal(plait_wait_any(entries, 1, &which, plait_after(SECONDS)), 0);
    close(ends[1]);
    assert_int_equal(plait_wait_any(entries, 1, &which, plait_after(SECONDS)), EBADF);
    assert_int_equal(which, 0);
    entries[0] = plait_any_fd(-1, POLLIN, NULL);
    assert_int_equal(plait_wait_any(entries, 1, &which, plait_after(SECONDS)), EBADF);
    entries[0] = plait_any_fd(ends[0], POLLIN, &revents);
    assert_int_equal(plait_wait_any(entries, 1, &which, plait_after(SECONDS)), 0);
    assert_int_equal(revents, POLLHUP);
    close(ends[0]);
    plait_queue_free(queue);
}

/* Sent to and fro, by one waiting for the descriptor and an event, the other for it twice. */
struct turns {
    int in, out, err;
    plait_event_t *never;
};

static void *take_turns(void *arg)
{
    struct turns *t = arg;
    struct plait_wait_entry entries[] = { plait_any_fd(t->in, POLLIN, NULL), plait_any_event_wait(t->never),
                                          plait_any_fd(t->in, POLLIN, NULL) };
    size_t which;
    char byte;

    for (int i = 0; i < MANY && t->err == 0; i++) {
        t->err = plait_wait_any(entries, 3, &which, plait_after(SECONDS));
        if (t->err == 0 && (which == 1 || read(t->in, &byte, 1) != 1 || write(t->out, &byte, 1) != 1))
            t->err = -1;
    }
    return NULL;
}

static void descriptors_are_waited_for_in_turn(void **state)
{
    plait_event_t never = PLAIT_EVENT_INIT;
    int there[2], back[2], before = count_descriptors();
    struct turns turns[2];
    pthread_t threads[2];

    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    turns[0] = (struct turns){ there[0], back[1], 0, &never };
    turns[1] = (struct turns){ back[0], there[1], 0, &never };
    assert_int_equal(write(there[1], "x", 1), 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &turns[i]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(turns[i].err, 0);
    }
    for (int i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
    assert_int_equal(count_descriptors(), before); /* of the threads nothing stays; what this one needs was there before */
}

/* One descriptor, many who wait for it: all see it. */
static void *wait_for_hang_up(void *arg)
{
    struct plait_wait_entry entry = plait_any_fd(*(int *)arg, POLLIN, NULL);

    return (void *)(intptr_t)plait_wait_any(&entry, 1, NULL, plait_after(SECONDS));
}

static void descriptor_is_waited_for_by_many(void **state)
{
    enum { COUNT = 40 };
    pthread_t threads[COUNT];
    void *result;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_hang_up, &ends[0]), 0);
    plait_sleep(0.05);
    close(ends[1]);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_int_equal((intptr_t)result, 0);
    }
    close(ends[0]);
}

static int wait_in_child(void *arg)
{
    struct plait_wait_entry entry = plait_any_fd(*(int *)arg, POLLIN, NULL);
    int err = plait_wait_any(&entry, 1, NULL, plait_after(0.05));

    if (err != ETIMEDOUT)
        return 1;
    return plait_wait_any(&entry, 1, NULL, plait_after(SECONDS));
}

static void child_waits_for_descriptors_by_itself(void **state)
{
    int ends[2];
    pid_t child;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* as above */
#endif
    if (is_emulated())
        skip();
    assert_int_equal(pipe(ends), 0);
    child = child_start(wait_in_child, &ends[0]);
    plait_sleep(0.2);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(child_end(child), 0);
    close(ends[0]);
    close(ends[1]);
}

/* ---- Either way ---- */

static void thread_is_there_only_where_it_is_needed(void **state)
{
    bool usable = plait__ring_is_usable();
    struct plait_wait_entry entry;
    int ends[2], before = count_threads();

    if (refused)
        assert_false(usable);
    assert_int_equal(pipe(ends), 0);
    entry = plait_any_fd(ends[0], POLLIN, NULL);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, plait_after(0.02)), ETIMEDOUT);
    if (usable)
        assert_int_equal(count_threads(), before);
    else
        assert_true(count_threads() > before); /* by more than one under ThreadSanitizer, which starts its own with the first */
    close(ends[0]);
    close(ends[1]);
}

static void *set_later(void *event)
{
    plait_sleep(0.05);
    plait_event_set(event);
    return NULL;
}

static void words_end_the_sleep_too(void **state)
{
    plait_event_t event = PLAIT_EVENT_INIT;
    int ends[2];
    size_t which = 77;
    pthread_t thread;

    assert_int_equal(pipe(ends), 0);
    struct plait_wait_entry entries[] = { plait_any_fd(ends[0], POLLIN, NULL), plait_any_event_wait(&event) };
    assert_int_equal(pthread_create(&thread, NULL, set_later, &event), 0);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(SECONDS)), 0);
    assert_int_equal(which, 1);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
}

static int set_in_child(void *event)
{
    plait_sleep(0.05);
    return plait_event_set(event);
}

static void shared_words_end_the_sleep_too(void **state)
{
    plait_arena_t *arena;
    plait_event_t *event;
    int ends[2];
    size_t which = 77;
    pid_t child;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *event, (void **)&event), 0);
    assert_int_equal(plait_event_init(event, PLAIT_SHARED), 0);
    assert_int_equal(pipe(ends), 0);
    struct plait_wait_entry entries[] = { plait_any_fd(ends[0], POLLIN, NULL), plait_any_event_wait(event) };
    child = child_start(set_in_child, event);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(SECONDS)), 0);
    assert_int_equal(which, 1);
    assert_int_equal(child_end(child), 0);
    close(ends[0]);
    close(ends[1]);
    plait_arena_free(arena);
}

static void *cancel_later(void *token)
{
    plait_sleep(0.05);
    plait_cancel_set(token);
    return NULL;
}

static void token_ends_the_sleep_too(void **state)
{
    plait_cancel_t parent = { 0 }, token;
    int ends[2];
    pthread_t thread;

    assert_int_equal(plait_cancel_init_child(&token, &parent, 0), 0);
    assert_int_equal(pipe(ends), 0);
    struct plait_wait_entry entry = plait_any_fd(ends[0], POLLIN, NULL);
    plait_cancel_bind(&token);
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, &parent), 0);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_FOREVER), ECANCELED);
    plait_cancel_bind(NULL);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
}

static void sleep_lasts_until_the_deadline(void **state)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    struct plait_wait_entry entry = plait_any_fd(ends[0], POLLIN, NULL);
    for (int i = 0; i < 20; i++) {
        plait_time_t deadline = plait_after(0.003);

        assert_int_equal(plait_wait_any(&entry, 1, NULL, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    assert_int_equal(plait_wait_any(&entry, 1, NULL, -5), ETIMEDOUT);
    close(ends[0]);
    close(ends[1]);
}

static void many_descriptors_are_waited_for_at_once(void **state)
{
    enum { COUNT = 200 };
    struct plait_wait_entry entries[COUNT];
    int fds[COUNT];
    size_t which;

    for (int i = 0; i < COUNT; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
        assert_true(fds[i] >= 0);
        entries[i] = plait_any_fd(fds[i], POLLIN, NULL);
    }
    assert_int_equal(plait_wait_any(entries, COUNT, &which, plait_after(0.02)), ETIMEDOUT);
    for (int i = 0; i < COUNT; i += 7) {
        uint64_t one = 1;

        assert_int_equal(write(fds[i], &one, sizeof one), sizeof one);
        assert_int_equal(plait_wait_any(entries, COUNT, &which, plait_after(SECONDS)), 0);
        assert_int_equal(which, i);
        assert_int_equal(read(fds[i], &one, sizeof one), sizeof one);
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

static void ready_descriptor_and_file_need_no_sleep(void **state)
{
    char path[] = "/tmp/any-fd-XXXXXX";
    int fd = mkstemp(path);
    short revents = 0;

    assert_true(fd >= 0);
    struct plait_wait_entry entry = plait_any_fd(fd, POLLIN, &revents);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_FOREVER), 0); /* a file can always be read */
    assert_int_equal(revents, POLLIN);
    unlink(path);
    close(fd);
}

static volatile sig_atomic_t signals;

static void count_signal(int number) { signals++; }

static void *send_signals(void *target)
{
    for (int i = 0; i < 20; i++) {
        plait_sleep(0.002);
        pthread_kill(*(pthread_t *)target, SIGUSR1);
    }
    return NULL;
}

static void signals_do_not_end_the_sleep(void **state)
{
    struct sigaction action = { .sa_handler = count_signal }, old;
    pthread_t self = pthread_self(), thread;
    int ends[2];

    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    assert_int_equal(pipe(ends), 0);
    struct plait_wait_entry entry = plait_any_fd(ends[0], POLLIN, NULL);
    assert_int_equal(pthread_create(&thread, NULL, send_signals, &self), 0);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, plait_after(0.1)), ETIMEDOUT);
    pthread_join(thread, NULL);
    assert_true(signals > 0); /* two that come close to each other may be one */
    sigaction(SIGUSR1, &old, NULL);
    close(ends[0]);
    close(ends[1]);
}

/* Permits and bytes come from two sides at once; none is lost, and none is got twice. */
struct supply {
    plait_sem_t sem;
    int in;
};

enum { SUPPLIES = 3000 };

static void *supply_permits(void *arg)
{
    struct supply *supply = arg;

    for (int i = 0; i < SUPPLIES; i++) {
        plait_sem_release(&supply->sem, 1);
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void *supply_bytes(void *arg)
{
    struct supply *supply = arg;

    for (int i = 0; i < SUPPLIES; i++)
        if (write(supply->in, "x", 1) != 1)
            break;
    return NULL;
}

static void nothing_is_lost_between_words_and_descriptors(void **state)
{
    struct supply supply = { .sem = PLAIT_SEM_INIT(0) };
    int ends[2], permits = 0, bytes = 0;
    pthread_t threads[2];
    char byte;

    assert_int_equal(pipe(ends), 0);
    supply.in = ends[1];
    struct plait_wait_entry entries[] = { plait_any_fd(ends[0], POLLIN, NULL), plait_any_sem_acquire(&supply.sem, 1) };
    assert_int_equal(pthread_create(&threads[0], NULL, supply_permits, &supply), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, supply_bytes, &supply), 0);
    while (permits + bytes < 2 * SUPPLIES) {
        size_t which;

        assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(SECONDS)), 0);
        if (which == 0)
            assert_int_equal(read(ends[0], &byte, 1), 1);
        *(which ? &permits : &bytes) += 1;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(permits, SUPPLIES);
    assert_int_equal(bytes, SUPPLIES);
    assert_int_equal(plait_sem_value(&supply.sem), 0);
    assert_int_equal(plait_wait_any(entries, 2, NULL, PLAIT_NOW), ETIMEDOUT);
    close(ends[0]);
    close(ends[1]);
}

struct waiter {
    plait_sem_t *sem;
    int fd;
};

static int wait_for_both(void *arg)
{
    struct waiter *w = arg;
    struct plait_wait_entry entries[] = { plait_any_fd(w->fd, POLLIN, NULL), plait_any_sem_acquire(w->sem, 1) };

    return plait_wait_any(entries, 2, NULL, PLAIT_FOREVER);
}

static int acquire_it(void *arg)
{
    return plait_sem_acquire(((struct waiter *)arg)->sem, 1, plait_after(SECONDS));
}

/* Killed in its sleep, on a shared word and a descriptor, before or after a permit came: others get what there is. */
static void waiter_that_is_killed_keeps_nothing_from_others(void **state)
{
    plait_arena_t *arena;
    struct waiter w;
    int ends[2];

#ifdef PLAIT_UNDER_TSAN
    if (!plait__ring_is_usable())
        skip(); /* the child would start a thread, which ThreadSanitizer does not allow */
#endif
    if (is_emulated())
        skip();
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *w.sem, (void **)&w.sem), 0);
    assert_int_equal(plait_sem_init(w.sem, 0, PLAIT_SHARED), 0);
    assert_int_equal(pipe(ends), 0);
    w.fd = ends[0];
    for (int round = 0; round < 20; round++) {
        pid_t killed = child_start(wait_for_both, &w), other = child_start(acquire_it, &w);
        plait_time_t until = plait_after(SECONDS);

        while (child_state(killed) != 'S' && plait_now() < until)
            sched_yield();
        if (round % 2) {
            child_kill(killed);
            plait_sem_release(w.sem, 1);
        } else { /* it may have taken the first */
            plait_sem_release(w.sem, 1);
            child_kill(killed);
            plait_sem_release(w.sem, 1);
        }
        assert_int_equal(child_end(other), 0);
        while (plait_sem_acquire(w.sem, 1, PLAIT_NOW) == 0)
            ;
    }
    close(ends[0]);
    close(ends[1]);
    plait_arena_free(arena);
}

/* As daemons do. The library has lost what it had open, and does without. */
static int close_all_and_go_on(void *arg)
{
    plait_event_t event = PLAIT_EVENT_INIT;
    struct plait_wait_entry entry;
    int ends[2];

    entry = plait_any_fd(*(int *)arg, POLLIN, NULL);
    if (plait_wait_any(&entry, 1, NULL, plait_after(0.01)) != ETIMEDOUT)
        return 1;
    for (int fd = 3; fd < 100; fd++)
        close(fd);
    if (pipe(ends) != 0)
        return 2;
    struct plait_wait_entry entries[] = { plait_any_fd(ends[0], POLLIN, NULL), plait_any_event_wait(&event) };
    for (int i = 0; i < 3; i++) {
        if (plait_wait_any(entries, 2, NULL, plait_after(0.01)) != ETIMEDOUT)
            return 3;
        plait_event_set(&event);
        if (plait_wait_any(entries, 2, NULL, plait_after(SECONDS)) != 0)
            return 4;
        plait_event_clear(&event);
    }
    return write(ends[1], "x", 1) == 1 ? plait_wait_any(entries, 2, NULL, plait_after(SECONDS)) : 5;
}

static void program_that_closes_all_descriptors_goes_on(void **state)
{
    int ends[2];

    if (!plait__ring_is_usable()) /* the thread's descriptor is another matter: it cannot know that it was closed */
        skip();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(child_run(close_all_and_go_on, &ends[0]), 0);
    close(ends[0]);
    close(ends[1]);
}

/* ---- The second time ---- */

static void refuse_and_begin_again(void)
{
    static const long calls[] = { NR_IO_URING_SETUP };

    if (refuse_calls(calls, 1, ENOSYS) != 0)
        _exit(NO_SECCOMP);
    exec_self("refused", NULL);
}

static void all_of_it_without_the_kernels_help(void **state)
{
    int status = -1;
    pid_t pid;

    if (!plait__ring_is_usable())
        skip(); /* it was without already */
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        refuse_and_begin_again();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP)
        skip();
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_is_there_only_where_it_is_needed),
        cmocka_unit_test(descriptor_is_an_entry),
        cmocka_unit_test(descriptors_are_waited_for_in_turn),
        cmocka_unit_test(descriptor_is_waited_for_by_many),
        cmocka_unit_test(child_waits_for_descriptors_by_itself),
        cmocka_unit_test(words_end_the_sleep_too),
        cmocka_unit_test(shared_words_end_the_sleep_too),
        cmocka_unit_test(token_ends_the_sleep_too),
        cmocka_unit_test(sleep_lasts_until_the_deadline),
        cmocka_unit_test(many_descriptors_are_waited_for_at_once),
        cmocka_unit_test(ready_descriptor_and_file_need_no_sleep),
        cmocka_unit_test(signals_do_not_end_the_sleep),
        cmocka_unit_test(nothing_is_lost_between_words_and_descriptors),
        cmocka_unit_test(waiter_that_is_killed_keeps_nothing_from_others),
        cmocka_unit_test(program_that_closes_all_descriptors_goes_on),
    };
    const struct CMUnitTest again[] = { cmocka_unit_test(all_of_it_without_the_kernels_help) };
    int failed;

    refused = argc > 1 && strcmp(argv[1], "refused") == 0;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return refused || failed ? failed : cmocka_run_group_tests(again, NULL, NULL);
}
