/* SPDX-License-Identifier: MIT */
/* Tests of lib/exec/thread.c and cpu_count.c. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/init.h>
#include <plait/thread.h>
#include <plait/wait.h>

#include "support/child.h"
#include "support/cmocka.h"

/* A gate that threads wait at until the test opens it. */
static uint32_t gate;

static void gate_close(void)
{
    __atomic_store_n(&gate, 0, __ATOMIC_RELEASE);
}

static void gate_open(void)
{
    __atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
    plait_wake(&gate, UINT_MAX, 0);
}

static void *pass_gate(void *arg)
{
    while (__atomic_load_n(&gate, __ATOMIC_ACQUIRE) == 0)
        plait_wait(&gate, 0, 0, PLAIT_FOREVER);
    return arg;
}

static plait_thread_t *make(void *(*target)(void *), void *arg)
{
    plait_thread_t *thread = NULL;
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = target, .arg = arg }), 0);
    return thread;
}

static plait_thread_t *start(void *(*target)(void *), void *arg)
{
    plait_thread_t *thread = make(target, arg);
    assert_int_equal(plait_thread_start(thread), 0);
    return thread;
}

static void *add_one(void *arg)
{
    return (char *)arg + 1;
}

static void thread_joined_gives_its_result(void **state)
{
    char bytes[2];
    void *result = NULL;
    plait_thread_t *thread = start(add_one, bytes);
    assert_int_equal(plait_thread_join(thread, &result, PLAIT_FOREVER), 0);
    assert_ptr_equal(result, bytes + 1);
    assert_false(plait_thread_is_alive(thread));
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_NOW), 0);
    plait_thread_free(thread);
}

static void *exit_with(void *arg)
{
    pthread_exit(arg);
}

static void thread_calling_pthread_exit_gives_its_value(void **state)
{
    void *result = NULL;
    plait_thread_t *thread = start(exit_with, &gate);
    assert_int_equal(plait_thread_join(thread, &result, PLAIT_FOREVER), 0);
    assert_ptr_equal(result, &gate);
    plait_thread_free(thread);
}

static void *pause_for_ever(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void thread_cancelled_by_pthreads_is_joined(void **state)
{
    pthread_t pthread;
    void *result = NULL;
    plait_thread_t *thread = start(pause_for_ever, NULL);
    assert_int_equal(plait_thread_pthread(thread, &pthread), 0);
    pthread_cancel(pthread);
    assert_int_equal(plait_thread_join(thread, &result, PLAIT_FOREVER), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    plait_thread_free(thread);
}

struct joiner {
    plait_thread_t *whom;
    void *result;
    int err;
};

static void *join_it(void *arg)
{
    struct joiner *joiner = arg;
    joiner->err = plait_thread_join(joiner->whom, &joiner->result, PLAIT_FOREVER);
    return NULL;
}

static void thread_joined_by_several_gives_each_the_result(void **state)
{
    enum { COUNT = 8 };
    struct joiner joiners[COUNT];
    plait_thread_t *threads[COUNT];
    gate_close();
    plait_thread_t *thread = start(pass_gate, joiners);
    for (int i = 0; i < COUNT; i++) {
        joiners[i] = (struct joiner){ thread, NULL, -1 };
        threads[i] = start(join_it, &joiners[i]);
    }
    gate_open();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(plait_thread_join(threads[i], NULL, PLAIT_FOREVER), 0);
        assert_int_equal(joiners[i].err, 0);
        assert_ptr_equal(joiners[i].result, joiners);
        plait_thread_free(threads[i]);
    }
    plait_thread_free(thread);
}

static void thread_still_running_at_the_deadline_is_told(void **state)
{
    gate_close();
    plait_thread_t *thread = start(pass_gate, NULL);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_NOW), ETIMEDOUT);
    plait_time_t deadline = plait_after(0.02);
    assert_int_equal(plait_thread_join(thread, NULL, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_true(plait_thread_is_alive(thread));
    gate_open();
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    plait_thread_free(thread);
}

static void thread_join_with_a_set_token_is_cancelled(void **state)
{
    plait_cancel_t token = { 0 };
    gate_close();
    plait_thread_t *thread = start(pass_gate, NULL);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    int err = plait_thread_join(thread, NULL, PLAIT_FOREVER);
    plait_cancel_bind(NULL);
    assert_int_equal(err, ECANCELED);
    gate_open();
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    plait_thread_free(thread);
}

static void thread_started_twice_is_refused(void **state)
{
    plait_thread_t *thread = make(add_one, NULL);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_NOW), EINVAL);
    assert_false(plait_thread_is_alive(thread));
    assert_int_equal(plait_thread_start(thread), 0);
    assert_int_equal(plait_thread_start(thread), EBUSY);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_start(thread), EBUSY);
    plait_thread_free(thread);
}

static void *join_self(void *arg)
{
    struct joiner *joiner = arg;
    pass_gate(NULL);
    joiner->err = plait_thread_join(plait_thread_current(), NULL, PLAIT_FOREVER);
    return plait_thread_current();
}

/* Joins what another thread is just starting; the answer is "not started", or the result. */
static void *join_when_started(void *arg)
{
    struct joiner *joiner = arg;
    do
        joiner->err = plait_thread_join(joiner->whom, &joiner->result, PLAIT_FOREVER);
    while (joiner->err == EINVAL);
    return NULL;
}

static void thread_joined_while_it_is_started_gives_its_result(void **state)
{
    for (int round = 0; round < 200; round++) {
        struct joiner joiner = { .whom = make(add_one, &joiner) };
        plait_thread_t *thread = start(join_when_started, &joiner);
        assert_int_equal(plait_thread_start(joiner.whom), 0);
        assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
        assert_int_equal(joiner.err, 0);
        assert_ptr_equal(joiner.result, (char *)&joiner + 1);
        plait_thread_free(joiner.whom);
        plait_thread_free(thread);
    }
}

static void thread_joining_itself_is_refused(void **state)
{
    struct joiner joiner = { 0 };
    void *itself = NULL;
    gate_open();
    plait_thread_t *thread = start(join_self, &joiner);
    assert_int_equal(plait_thread_join(thread, &itself, PLAIT_FOREVER), 0);
    assert_int_equal(joiner.err, EDEADLK);
    assert_ptr_equal(itself, thread);
    assert_ptr_not_equal(plait_thread_current(), thread);
    plait_thread_free(thread);
}

static void *shown_name(void *arg)
{
    pthread_getname_np(pthread_self(), arg, 16);
    return NULL;
}

static void thread_name_is_given_and_shown(void **state)
{
    char shown[16] = "";
    plait_thread_t *thread;
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){
                         .target = shown_name, .arg = shown, .name = "a name of more than fifteen" }), 0);
    plait_thread_start(thread);
    plait_thread_join(thread, NULL, PLAIT_FOREVER);
    assert_string_equal(shown, "a name of more ");
    assert_string_equal(plait_thread_name(thread), "a name of more than fifteen");
    plait_thread_free(thread);
    thread = make(add_one, NULL);
    assert_int_equal(strncmp(plait_thread_name(thread), "plait-", 6), 0);
    plait_thread_free(thread);
}

static void thread_options_that_are_absurd_are_refused(void **state)
{
    plait_thread_t *thread = NULL;
    assert_int_equal(plait_thread_new(&thread, NULL), EINVAL);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .arg = &gate }), EINVAL);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = add_one, .stack_size = 1 }),
                     EINVAL);
    assert_null(thread);
    assert_int_equal(plait_thread_free(NULL), 0);
}

static void thread_stack_that_does_not_fit_can_be_tried_again(void **state)
{
    plait_thread_t *thread = NULL;
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){
                         .target = add_one, .stack_size = (size_t)1 << 50 }), 0);
    assert_int_equal(plait_thread_start(thread), EAGAIN);
    assert_int_equal(plait_thread_start(thread), EAGAIN);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_NOW), EINVAL);
    plait_thread_free(thread);
}

static void thread_handle_dropped_lets_it_run_on(void **state)
{
    struct joiner joiner = { NULL, NULL, -1 };
    gate_close();
    plait_thread_t *behind = start(pass_gate, NULL);
    joiner.whom = behind;
    plait_thread_t *thread = start(join_it, &joiner);
    plait_thread_free(thread);
    gate_open();
    plait_thread_join(behind, NULL, PLAIT_FOREVER);
    for (int i = 0; i < 1000; i++) {
        while (count_threads() > 64) /* a machine may allow few, and not be quick to run them */
            sched_yield();
        plait_thread_free(start(add_one, NULL));
    }
    while (__atomic_load_n(&joiner.err, __ATOMIC_ACQUIRE) == -1)
        sched_yield();
    assert_int_equal(joiner.err, 0);
    /* `behind` is still being looked at by the other until it has left. */
    plait_thread_free(behind);
}

static void thread_pthread_is_known_while_it_runs(void **state)
{
    pthread_t pthread;
    gate_close();
    plait_thread_t *thread = make(pass_gate, NULL);
    assert_int_equal(plait_thread_pthread(thread, &pthread), EINVAL);
    plait_thread_start(thread);
    assert_int_equal(plait_thread_pthread(thread, &pthread), 0);
    assert_int_equal(pthread_kill(pthread, 0), 0);
    gate_open();
    plait_thread_join(thread, NULL, PLAIT_FOREVER);
    assert_int_equal(plait_thread_pthread(thread, &pthread), EINVAL);
    plait_thread_free(thread);
}

/* ---- Exit and fork, seen from outside ---- */

static int pipe_to_test[2];

static void *write_late(void *arg)
{
    plait_sleep(0.05);
    if (write(pipe_to_test[1], "x", 1) != 1)
        abort();
    return NULL;
}

static void *exit_from_thread(void *arg)
{
    exit(7);
}

/* Run `body` in a child of a process with `others` threads; how it ended, and how many bytes it wrote to the pipe. */
static int in_child(void (*body)(void), int others, int *bytes_out)
{
    char bytes[16];
    int status = 0;
    assert_int_equal(pipe(pipe_to_test), 0);
    child_await_quiet(others);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        close(pipe_to_test[0]);
        body();
        exit(3);
    }
    close(pipe_to_test[1]);
    *bytes_out = (int)read(pipe_to_test[0], bytes, sizeof bytes);
    close(pipe_to_test[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void leave_one_running(void)
{
    plait_thread_t *thread;
    plait_thread_new(&thread, &(struct plait_thread_opts){ .target = write_late });
    plait_thread_start(thread);
    plait_thread_free(thread);
}

/* ---- What a thread leaves is destroyed before it counts as ended ---- */

static pthread_key_t kept; /* destroyed by pass_gate_as_a_value */
static uint32_t destroying;

static void pass_gate_as_a_value(void *value)
{
    __atomic_store_n(&destroying, 1, __ATOMIC_RELEASE);
    pass_gate(value);
    __atomic_store_n(&destroying, 2, __ATOMIC_RELEASE);
}

static void *keep(void *arg)
{
    pthread_setspecific(kept, arg);
    return arg;
}

static void thread_is_alive_until_its_values_are_destroyed(void **state)
{
    plait_time_t end = plait_after(30);
    plait_thread_t *thread;
    void *result = NULL;

    gate_close();
    destroying = 0;
    assert_int_equal(pthread_key_create(&kept, pass_gate_as_a_value), 0);
    thread = start(keep, &gate);
    while (!__atomic_load_n(&destroying, __ATOMIC_ACQUIRE) && plait_now() < end)
        plait_sleep(0.001);
    assert_true(plait_thread_is_alive(thread));
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_thread_join(thread, NULL, plait_after(0.05)), ETIMEDOUT);
    gate_open();
    assert_int_equal(plait_thread_join(thread, &result, end), 0);
    assert_ptr_equal(result, &gate);
    assert_int_equal(destroying, 2);
    assert_false(plait_thread_is_alive(thread));
    assert_int_equal(plait_thread_free(thread), 0);
    pthread_key_delete(kept);
}

static void write_late_as_a_value(void *value) { write_late(value); }

static void leave_a_value_to_destroy(void)
{
    plait_thread_t *thread;

    pthread_key_create(&kept, write_late_as_a_value);
    plait_thread_new(&thread, &(struct plait_thread_opts){ .target = keep, .arg = &gate });
    plait_thread_start(thread);
    plait_thread_free(thread);
}

static void leave_daemon_running(void)
{
    plait_thread_t *thread;
    plait_thread_new(&thread, &(struct plait_thread_opts){ .target = pass_gate, .daemon = true });
    plait_thread_start(thread);
}

static void exit_in_thread(void)
{
    plait_thread_t *thread;
    leave_one_running();
    plait_thread_new(&thread, &(struct plait_thread_opts){ .target = exit_from_thread });
    plait_thread_start(thread);
    pause();
}

static void exit_waits_for_threads_that_are_not_daemons(void **state)
{
    int bytes = 0;
    assert_int_equal(in_child(leave_one_running, 0, &bytes), 3);
    assert_int_equal(bytes, 1);
}

static void exit_waits_until_their_values_are_destroyed(void **state)
{
    int bytes = 0;

    assert_int_equal(in_child(leave_a_value_to_destroy, 0, &bytes), 3);
    assert_int_equal(bytes, 1);
}

static void exit_does_not_wait_for_daemons(void **state)
{
    int bytes = -1;
    gate_close();
    assert_int_equal(in_child(leave_daemon_running, 0, &bytes), 3);
    assert_int_equal(bytes, 0);
}

static void exit_called_by_a_thread_does_not_wait_for_it(void **state)
{
    int bytes = 0;
    assert_int_equal(in_child(exit_in_thread, 0, &bytes), 7);
    assert_int_equal(bytes, 1);
}

static plait_thread_t *of_parent;

static void look_at_parents_thread(void)
{
    if (plait_thread_is_alive(of_parent))
        exit(10);
    if (plait_thread_join(of_parent, NULL, PLAIT_FOREVER) != EOWNERDEAD)
        exit(11);
    plait_thread_free(of_parent);
    leave_one_running();
}

static void fork_leaves_the_threads_behind(void **state)
{
    int bytes = 0;
#ifdef PLAIT_UNDER_TSAN
    skip(); /* its run-time ends a child of a threaded program that starts threads */
#endif
    if (is_emulated()) /* and so does qemu-user, by a failed assertion of its own */
        skip();
    gate_close();
    of_parent = start(pass_gate, NULL);
    assert_int_equal(in_child(look_at_parents_thread, 1, &bytes), 3);
    assert_int_equal(bytes, 1);
    gate_open();
    assert_int_equal(plait_thread_join(of_parent, NULL, PLAIT_FOREVER), 0);
    plait_thread_free(of_parent);
}

static void cpu_count_follows_the_affinity_mask(void **state)
{
    cpu_set_t before, one;
    unsigned all = plait_cpu_count();
    assert_true(all >= 1);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(plait_cpu_count(), 1);
    sched_setaffinity(0, sizeof before, &before);
    assert_int_equal(plait_cpu_count(), all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_joined_gives_its_result),
        cmocka_unit_test(thread_calling_pthread_exit_gives_its_value),
        cmocka_unit_test(thread_cancelled_by_pthreads_is_joined),
        cmocka_unit_test(thread_joined_by_several_gives_each_the_result),
        cmocka_unit_test(thread_still_running_at_the_deadline_is_told),
        cmocka_unit_test(thread_join_with_a_set_token_is_cancelled),
        cmocka_unit_test(thread_started_twice_is_refused),
        cmocka_unit_test(thread_joined_while_it_is_started_gives_its_result),
        cmocka_unit_test(thread_joining_itself_is_refused),
        cmocka_unit_test(thread_name_is_given_and_shown),
        cmocka_unit_test(thread_options_that_are_absurd_are_refused),
        cmocka_unit_test(thread_stack_that_does_not_fit_can_be_tried_again),
        cmocka_unit_test(thread_handle_dropped_lets_it_run_on),
        cmocka_unit_test(thread_pthread_is_known_while_it_runs),
        cmocka_unit_test(thread_is_alive_until_its_values_are_destroyed),
        cmocka_unit_test(exit_waits_for_threads_that_are_not_daemons),
        cmocka_unit_test(exit_waits_until_their_values_are_destroyed),
        cmocka_unit_test(exit_does_not_wait_for_daemons),
        cmocka_unit_test(exit_called_by_a_thread_does_not_wait_for_it),
        cmocka_unit_test(fork_leaves_the_threads_behind),
        cmocka_unit_test(cpu_count_follows_the_affinity_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
