/* SPDX-License-Identifier: MIT */
/* Tests of plait/signal.h. All signals that they use are blocked from the start of main. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { WAITERS = 4 };

static plait_signal_t *make(const int *numbers, unsigned depth)
{
    plait_signal_t *s = NULL;

    assert_int_equal(plait_signal_new(&s, &(struct plait_signal_opts){ .signals = numbers, .depth = depth }), 0);
    return s;
}

#define FOR(...) make((const int[]){ __VA_ARGS__, 0 }, 0)

static bool has_arrived(plait_signal_t *s, int number, unsigned long long count)
{
    return EVENTUALLY(plait_signal_count(s, number) >= count);
}

static void send(int number, int value)
{
    int err;

    while ((err = sigqueue(getpid(), number, (union sigval){ .sival_int = value })) < 0 && errno == EAGAIN)
        stage_pause();
    assert_int_equal(err, 0);
}

static bool is_pending(int number)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, number) == 1;
}

/* Take it from the kernel, where it must be. */
static void take_pending(int number)
{
    const struct timespec at_once = { 0, 0 };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, number);
    assert_int_equal(sigtimedwait(&set, NULL, &at_once), number);
}

/* How many threads of the library take signals here? */
static int count_feeders(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    while ((entry = readdir(tasks))) {
        char path[300], name[20] = "";
        FILE *comm;

        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        comm = fopen(path, "r");
        if (comm && fgets(name, sizeof name, comm))
            count += strcmp(name, "plait-signals\n") == 0;
        if (comm)
            fclose(comm);
    }
    closedir(tasks);
    return count;
}

/* ---- Making ----------------------------------------------------------------------------- */

static void signals_that_cannot_be_waited_for_are_refused(void **state)
{
    static const int bad[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, -1, 32, 65, 1000 };
    plait_signal_t *s;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const int numbers[] = { SIGUSR1, bad[i], 0 };

        assert_int_equal(plait_signal_new(&s, &(struct plait_signal_opts){ .signals = numbers }), EINVAL);
        assert_int_equal(plait_signal_block(numbers), EINVAL);
    }
    assert_int_equal(plait_signal_block(NULL), EINVAL);
    assert_int_equal(plait_signal_block((const int[]){ 0 }), EINVAL);
    assert_int_equal(plait_signal_new(&s, &(struct plait_signal_opts){ .signals = (const int[]){ 0 } }), EINVAL);
    assert_int_equal(plait_signal_new(&s, NULL), EINVAL);
    assert_int_equal(plait_signal_new(NULL, &(struct plait_signal_opts){ .signals = (const int[]){ SIGUSR1, 0 } }), EINVAL);
    assert_int_equal(plait_signal_new(&s, &(struct plait_signal_opts){ .signals = (const int[]){ SIGUSR1, 0 },
                                                                       .depth = 65537 }), EINVAL);
    assert_int_equal(plait_signal_free(NULL), 0);
}

static void signal_that_is_not_blocked_is_refused(void **state)
{
    plait_signal_t *s;

    assert_int_equal(plait_signal_new(&s, &(struct plait_signal_opts){ .signals = (const int[]){ SIGUSR1, SIGCONT, 0 } }),
                     EINVAL);
}

static void signal_blocked_by_us_is_blocked_for_this_thread(void **state)
{
    sigset_t before, after;

    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(plait_signal_block((const int[]){ SIGCONT, SIGWINCH, 0 }), 0);
    pthread_sigmask(SIG_SETMASK, &before, &after);
    for (int i = 1; i < NSIG; i++)
        assert_int_equal(sigismember(&after, i), i == SIGCONT || i == SIGWINCH ? 1 : sigismember(&before, i));
}

static void thread_and_descriptors_are_there_while_there_are_objects(void **state)
{
    int descriptors = count_descriptors();

    for (int i = 0; i < 20; i++) {
        plait_signal_t *a = FOR(SIGUSR1), *b = FOR(SIGUSR1, SIGUSR2);

        assert_true(EVENTUALLY(count_feeders() == 1)); /* it names itself */
        assert_int_equal(count_descriptors(), descriptors + 2);
        plait_signal_free(a);
        assert_int_equal(count_feeders(), 1);
        plait_signal_free(b);
        assert_true(EVENTUALLY(count_feeders() == 0)); /* the kernel may be slow to forget it */
        assert_int_equal(count_descriptors(), descriptors);
    }
}

static void nothing_is_done_behind_the_programs_back(void **state)
{
    struct sigaction before[NSIG], after;
    sigset_t mask_before, mask_after;

    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &before[i]);
    pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    plait_signal_t *s = FOR(SIGUSR1);
    send(SIGUSR1, 0);
    assert_int_equal(plait_signal_wait(s, NULL, PLAIT_FOREVER), 0);
    for (int i = 1; i < NSIG; i++)
        if (sigaction(i, NULL, &after) == 0)
            assert_true(after.sa_handler == before[i].sa_handler && after.sa_flags == before[i].sa_flags);
    pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
    for (int i = 1; i < NSIG; i++)
        assert_int_equal(sigismember(&mask_after, i), sigismember(&mask_before, i));
    plait_signal_free(s);
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static void signal_tells_who_sent_it(void **state)
{
    plait_signal_t *s = FOR(SIGTERM, SIGHUP);
    struct plait_signal_info info;

    memset(&info, 0, sizeof info);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_FOREVER), 0);
    assert_int_equal(info.number, SIGHUP);
    assert_int_equal(info.code, SI_USER);
    assert_int_equal(info.pid, getpid());
    assert_int_equal(info.uid, getuid());
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_NOW), ETIMEDOUT);
    plait_signal_free(s);
}

static void signal_pending_before_arrives_at_once(void **state)
{
    plait_signal_t *s;

    send(SIGUSR2, 0);
    s = FOR(SIGUSR2);
    assert_int_equal(plait_signal_wait(s, NULL, PLAIT_FOREVER), 0);
    plait_signal_free(s);
    assert_false(is_pending(SIGUSR2));
}

static void signal_wait_ends_at_the_deadline(void **state)
{
    plait_signal_t *s = FOR(SIGUSR1);
    plait_time_t deadline = plait_after(0.02);

    assert_int_equal(plait_signal_wait(s, NULL, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_int_equal(plait_signal_wait(s, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_signal_wait(s, NULL, -1), ETIMEDOUT);
    plait_signal_free(s);
}

static void signal_of_a_default_ignored_kind_arrives(void **state)
{
    plait_signal_t *s = FOR(SIGCHLD);
    struct plait_signal_info info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(7);
    memset(&info, 0, sizeof info);
    assert_int_equal(plait_signal_wait(s, &info, plait_after(20)), 0);
    assert_int_equal(info.pid, pid);
    assert_int_equal(info.status, 7);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    plait_signal_free(s);
}

static void standard_signal_is_kept_once_with_the_newest_information(void **state)
{
    plait_signal_t *s = FOR(SIGUSR1, SIGUSR2);
    struct plait_signal_info info;

    send(SIGUSR1, 1);
    assert_true(has_arrived(s, SIGUSR1, 1));
    send(SIGUSR2, 0);
    assert_true(has_arrived(s, SIGUSR2, 1));
    send(SIGUSR1, 2);
    assert_true(has_arrived(s, SIGUSR1, 2));
    assert_int_equal(plait_signal_count(s, 0), 3);
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_NOW), 0);
    assert_int_equal(info.number, SIGUSR1);
    assert_int_equal(info.value, 2);
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_NOW), 0);
    assert_int_equal(info.number, SIGUSR2);
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_signal_lost(s), 0);
    assert_int_equal(plait_signal_count(s, -1), 0);
    assert_int_equal(plait_signal_count(s, NSIG), 0);
    plait_signal_free(s);
}

static void realtime_signals_come_one_by_one_in_order(void **state)
{
    enum { COUNT = 3000 };
    plait_signal_t *s = make((const int[]){ SIGRTMIN, 0 }, COUNT);
    struct plait_signal_info info;

    for (int i = 0; i < COUNT; i++)
        send(SIGRTMIN, i);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(plait_signal_wait(s, &info, plait_after(20)), 0);
        assert_int_equal(info.value, i);
    }
    assert_int_equal(plait_signal_wait(s, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_signal_count(s, SIGRTMIN), COUNT);
    plait_signal_free(s);
}

static void realtime_signals_beyond_the_depth_are_lost_and_displace_nothing(void **state)
{
    plait_signal_t *s = make((const int[]){ SIGRTMIN, SIGRTMIN + 1, SIGTERM, SIGHUP, 0 }, 3);
    const int expected[] = { SIGRTMIN, SIGRTMIN + 1, SIGRTMIN, SIGTERM, SIGHUP };
    struct plait_signal_info info;

    for (int i = 0; i < 5; i++) {
        send(SIGRTMIN + i % 2, i);
        assert_true(has_arrived(s, 0, (unsigned)i + 1));
    }
    send(SIGTERM, 0);
    assert_true(has_arrived(s, SIGTERM, 1));
    send(SIGHUP, 0);
    assert_true(has_arrived(s, SIGHUP, 1));
    assert_int_equal(plait_signal_lost(s), 2);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(plait_signal_wait(s, &info, PLAIT_NOW), 0);
        assert_int_equal(info.number, expected[i]);
    }
    send(SIGRTMIN, 9);
    assert_int_equal(plait_signal_wait(s, &info, PLAIT_FOREVER), 0);
    assert_int_equal(info.value, 9);
    plait_signal_free(s);
}

static void signal_is_seen_by_every_object_and_no_other(void **state)
{
    plait_signal_t *a = FOR(SIGUSR1), *b = FOR(SIGUSR2, SIGUSR1), *c = FOR(SIGUSR2);

    send(SIGUSR1, 0);
    assert_int_equal(plait_signal_wait(a, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_signal_wait(b, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_signal_wait(c, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_signal_count(c, SIGUSR1), 0);
    plait_signal_free(a);
    plait_signal_free(b);
    plait_signal_free(c);
}

static void signal_without_an_object_stays_with_the_kernel(void **state)
{
    plait_signal_t *a = FOR(SIGUSR1), *b = FOR(SIGUSR2);

    plait_signal_free(a);
    send(SIGUSR1, 0);
    send(SIGUSR2, 0);
    assert_int_equal(plait_signal_wait(b, NULL, PLAIT_FOREVER), 0);
    assert_true(is_pending(SIGUSR1));
    take_pending(SIGUSR1);
    plait_signal_free(b);
    send(SIGUSR2, 0);
    assert_true(is_pending(SIGUSR2));
    take_pending(SIGUSR2);
}

static void signal_to_one_thread_is_that_threads(void **state)
{
    plait_signal_t *s = FOR(SIGUSR1, SIGUSR2);

    assert_int_equal(raise(SIGUSR1), 0);
    send(SIGUSR2, 0);
    assert_int_equal(plait_signal_wait(s, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_signal_count(s, SIGUSR1), 0);
    take_pending(SIGUSR1);
    plait_signal_free(s);
}

static void signal_that_is_ignored_arrives(void **state)
{
    plait_signal_t *s = FOR(SIGHUP);
    struct sigaction ignore = { .sa_handler = SIG_IGN }, before;

    assert_int_equal(sigaction(SIGHUP, &ignore, &before), 0);
    send(SIGHUP, 0);
    assert_int_equal(plait_signal_wait(s, NULL, plait_after(20)), 0);
    assert_int_equal(sigaction(SIGHUP, &before, NULL), 0);
    plait_signal_free(s);
}

/* ---- Many ------------------------------------------------------------------------------- */

struct crowd {
    plait_signal_t *signal;
    uint32_t got[1000]; /* atomic: how often each value was taken */
    uint32_t asleep;    /* atomic */
};

static void *take_until_stop(void *arg)
{
    struct crowd *crowd = arg;
    struct plait_signal_info info;

    while (plait_signal_wait(crowd->signal, &info, plait_after(20)) == 0 && info.number == SIGRTMIN)
        __atomic_fetch_add(&crowd->got[info.value], 1, __ATOMIC_RELAXED);
    return NULL;
}

static void signal_is_taken_by_one_waiter(void **state)
{
    struct crowd crowd = { .signal = make((const int[]){ SIGRTMIN, SIGRTMIN + 1, 0 }, 2000) };
    pthread_t threads[WAITERS];

    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_until_stop, &crowd), 0);
    for (int i = 0; i < 1000; i++)
        send(SIGRTMIN, i);
    assert_true(has_arrived(crowd.signal, SIGRTMIN, 1000));
    for (int i = 0; i < WAITERS; i++)
        send(SIGRTMIN + 1, 0);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(crowd.got[i], 1);
    assert_int_equal(plait_signal_lost(crowd.signal), 0);
    plait_signal_free(crowd.signal);
}

static void *wait_once(void *arg)
{
    struct crowd *crowd = arg;
    plait_signal_t *own = NULL;
    int err = plait_signal_new(&own, &(struct plait_signal_opts){ .signals = (const int[]){ SIGUSR1, SIGUSR2, 0 } });

    __atomic_fetch_add(&crowd->asleep, 1, __ATOMIC_RELEASE);
    if (err == 0)
        err = plait_signal_wait(own, NULL, plait_after(20));
    plait_signal_free(own);
    return (void *)(intptr_t)err;
}

static void objects_come_and_go_in_many_threads(void **state)
{
    for (int round = 0; round < 30; round++) {
        struct crowd crowd = { 0 };
        pthread_t threads[WAITERS];

        for (int i = 0; i < WAITERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_once, &crowd), 0);
        assert_true(EVENTUALLY(__atomic_load_n(&crowd.asleep, __ATOMIC_ACQUIRE) == WAITERS));
        send(round % 2 ? SIGUSR1 : SIGUSR2, 0);
        for (int i = 0; i < WAITERS; i++) {
            void *result;

            pthread_join(threads[i], &result);
            assert_int_equal((intptr_t)result, 0);
        }
    }
}

/* ---- Fork ------------------------------------------------------------------------------- */

static plait_signal_t *inherited;
static int ready_pipe[2];

static int use_in_child(void *unused)
{
    struct plait_signal_info info;

    if (plait_signal_count(inherited, 0) != 0 || plait_signal_wait(inherited, NULL, PLAIT_NOW) != ETIMEDOUT)
        return 1; /* what the parent had not taken is the parent's */
    if (write(ready_pipe[1], "r", 1) != 1 || plait_signal_wait(inherited, &info, plait_after(20)) != 0)
        return 2;
    if (info.number != SIGUSR1 || info.pid != getppid())
        return 3;
    return plait_signal_free(inherited);
}

static void child_after_fork_has_its_own(void **state)
{
    char ready;
    pid_t pid;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* its run-time ends a child of a threaded program that starts threads */
#endif
    if (is_emulated()) /* and so does qemu-user */
        skip();
    inherited = FOR(SIGUSR1, SIGUSR2);
    send(SIGUSR2, 0);
    assert_true(has_arrived(inherited, SIGUSR2, 1));
    assert_int_equal(pipe(ready_pipe), 0);
    pid = child_start(use_in_child, NULL);
    close(ready_pipe[1]);
    assert_int_equal(read(ready_pipe[0], &ready, 1), 1);
    kill(pid, SIGUSR1);
    assert_int_equal(child_end(pid), 0);
    assert_int_equal(plait_signal_count(inherited, 0), 1);
    assert_int_equal(plait_signal_wait(inherited, NULL, PLAIT_NOW), 0);
    send(SIGUSR1, 0); /* the child has changed nothing for the parent */
    assert_int_equal(plait_signal_wait(inherited, NULL, plait_after(20)), 0);
    plait_signal_free(inherited);
    close(ready_pipe[0]);
}

static int free_in_child(void *unused)
{
    int descriptors = count_descriptors();

    plait_signal_free(inherited);
    return count_descriptors() == descriptors && count_feeders() == 0 ? 0 : 1;
}

static void child_after_fork_may_drop_it_unused(void **state)
{
    inherited = FOR(SIGUSR1);
    assert_int_equal(child_run(free_in_child, NULL), 0);
    send(SIGUSR1, 0);
    assert_int_equal(plait_signal_wait(inherited, NULL, plait_after(20)), 0);
    plait_signal_free(inherited);
}

/* ---- Real use ----------------------------------------------------------------------------- */

/* A server: jobs from a queue until it is told to stop; then it finishes what is there. */
struct server {
    plait_queue_t *jobs;
    plait_cancel_t stop;
    int done;
};

static void *stop_on_sigterm(void *arg)
{
    struct server *server = arg;
    plait_signal_t *term = NULL;

    if (plait_signal_new(&term, &(struct plait_signal_opts){ .signals = (const int[]){ SIGTERM, 0 } }) != 0)
        return NULL;
    if (plait_signal_wait(term, NULL, plait_after(20)) == 0)
        plait_cancel_set_code(&server->stop, SIGTERM);
    plait_signal_free(term);
    return NULL;
}

static int serve(void)
{
    struct server server = { .stop = PLAIT_CANCEL_INIT };
    int job, err = 0, code = 0;
    pthread_t thread;

    plait_queue_new(&server.jobs, &(struct plait_queue_opts){ .item_size = sizeof job });
    pthread_create(&thread, NULL, stop_on_sigterm, &server);
    plait_cancel_bind(&server.stop);
    for (int i = 0; i < 10; i++)
        plait_queue_put(server.jobs, &i, PLAIT_FOREVER);
    for (; err == 0; server.done += err == 0) {
        if (server.done == 5)
            kill(getpid(), SIGTERM);
        err = plait_queue_get(server.jobs, &job, PLAIT_FOREVER);
    }
    plait_cancel_bind(NULL);
    pthread_join(thread, NULL);
    plait_queue_free(server.jobs);
    return err == ECANCELED && server.done == 10 && plait_cancel_reason(&server.stop, &code, NULL) == ECANCELED &&
                   code == SIGTERM ? 0 : 1;
}

static void server_ends_in_order_on_sigterm(void **state)
{
    assert_int_equal(child_end(child_exec("serve", "")), 0);
}

/* The same in one thread: whatever comes first, and of both the signal. */
static int serve_until_stopped(void)
{
    const int stop[] = { SIGTERM, 0 };
    plait_signal_t *term;
    plait_queue_t *jobs;
    int job = -1, done = 0, err;
    size_t which;

    if (plait_signal_new(&term, &(struct plait_signal_opts){ .signals = stop }) != 0 ||
        plait_queue_new(&jobs, &(struct plait_queue_opts){ .item_size = sizeof job }) != 0)
        return 1;
    struct plait_wait_entry entries[] = { plait_any_first(plait_any_signal_wait(term, NULL)),
                                          plait_any_queue_get(jobs, &job) };
    for (int i = 0; i < 10; i++)
        plait_queue_put(jobs, &i, PLAIT_FOREVER);
    while ((err = plait_wait_any(entries, 2, &which, plait_after(20))) == 0 && which == 1) {
        done += job == done;
        if (done == 10)
            kill(getpid(), SIGTERM);
    }
    plait_queue_free(jobs);
    plait_signal_free(term);
    return err == 0 && which == 0 && done == 10 ? 0 : 2;
}

static void server_waits_for_sigterm_or_a_job(void **state)
{
    assert_int_equal(child_end(child_exec("serve until stopped", "")), 0);
}

int main(int argc, char **argv)
{
    const int blocked[] = { SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGCHLD, SIGRTMIN, SIGRTMIN + 1, 0 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_that_cannot_be_waited_for_are_refused),
        cmocka_unit_test(signal_that_is_not_blocked_is_refused),
        cmocka_unit_test(signal_blocked_by_us_is_blocked_for_this_thread),
        cmocka_unit_test(thread_and_descriptors_are_there_while_there_are_objects),
        cmocka_unit_test(nothing_is_done_behind_the_programs_back),
        cmocka_unit_test(signal_tells_who_sent_it),
        cmocka_unit_test(signal_pending_before_arrives_at_once),
        cmocka_unit_test(signal_wait_ends_at_the_deadline),
        cmocka_unit_test(signal_of_a_default_ignored_kind_arrives),
        cmocka_unit_test(standard_signal_is_kept_once_with_the_newest_information),
        cmocka_unit_test(realtime_signals_come_one_by_one_in_order),
        cmocka_unit_test(realtime_signals_beyond_the_depth_are_lost_and_displace_nothing),
        cmocka_unit_test(signal_is_seen_by_every_object_and_no_other),
        cmocka_unit_test(signal_without_an_object_stays_with_the_kernel),
        cmocka_unit_test(signal_to_one_thread_is_that_threads),
        cmocka_unit_test(signal_that_is_ignored_arrives),
        cmocka_unit_test(signal_is_taken_by_one_waiter),
        cmocka_unit_test(objects_come_and_go_in_many_threads),
        cmocka_unit_test(child_after_fork_has_its_own),
        cmocka_unit_test(child_after_fork_may_drop_it_unused),
        cmocka_unit_test(server_ends_in_order_on_sigterm),
        cmocka_unit_test(server_waits_for_sigterm_or_a_job),
    };

    if (plait_signal_block(blocked) != 0)
        return 99;
    if (argc == 3)
        return strcmp(argv[1], "serve") == 0 ? serve() : serve_until_stopped();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
