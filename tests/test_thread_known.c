/* SPDX-License-Identifier: MIT */
/* Tests of lib/exec/thread.c, thread_list.c and thread_failure.c: which threads there are, whoever made them; where and how they run; and how they fail. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

enum { MANY = 20 };

static plait_event_t gate, inside;

static void gate_close(void)
{
    assert_int_equal(plait_event_init(&gate, 0), 0);
    assert_int_equal(plait_event_init(&inside, 0), 0);
}

static void *pass_gate(void *arg)
{
    plait_event_set(&inside);
    plait_event_wait(&gate, PLAIT_FOREVER);
    return arg;
}

static plait_thread_t *start_with(const struct plait_thread_opts *opts)
{
    plait_thread_t *thread;

    assert_int_equal(plait_thread_new(&thread, opts), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    return thread;
}

static void *end(plait_thread_t *thread)
{
    void *result;

    assert_int_equal(plait_thread_join(thread, &result, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_free(thread), 0);
    return result;
}

/* How many of the living threads are those; their handles are dropped. */
static size_t count_among(plait_thread_t *const *threads, size_t count)
{
    plait_thread_t *all[MANY + 10];
    size_t there, among = 0;

    assert_int_equal(plait_thread_enumerate(all, MANY + 10, &there), 0);
    assert_in_range(there, 0, MANY + 10);
    for (size_t i = 0; i < there; i++) {
        for (size_t k = 0; k < count; k++)
            among += all[i] == threads[k];
        assert_int_equal(plait_thread_free(all[i]), 0);
    }
    return among;
}

/* ---- Which there are ---- */

static void threads_are_listed_from_their_start_to_their_end(void **state)
{
    plait_thread_t *threads[MANY], *unstarted;
    size_t before;

    gate_close();
    plait_thread_current();
    before = plait_thread_active_count();
    assert_int_equal(plait_thread_new(&unstarted, &(struct plait_thread_opts){ .target = pass_gate }), 0);
    for (int i = 0; i < MANY; i++) {
        threads[i] = start_with(&(struct plait_thread_opts){ .target = pass_gate, .daemon = i % 2 });
        assert_int_equal(plait_thread_is_daemon(threads[i]), i % 2);
    }
    assert_int_equal(plait_thread_active_count(), before + MANY);
    assert_int_equal(count_among(threads, MANY), MANY);
    assert_int_equal(count_among(&unstarted, 1), 0);
    plait_event_set(&gate);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(plait_thread_join(threads[i], NULL, PLAIT_FOREVER), 0);
    assert_int_equal(count_among(threads, MANY), 0);
    assert_int_equal(plait_thread_active_count(), before);
    for (int i = 0; i < MANY; i++)
        plait_thread_free(threads[i]);
    plait_thread_free(unstarted);
}

static void no_more_handles_are_given_than_there_is_room_for(void **state)
{
    plait_thread_t *threads[3], *some[2] = { NULL, NULL };
    size_t count;

    gate_close();
    for (int i = 0; i < 3; i++)
        threads[i] = start_with(&(struct plait_thread_opts){ .target = pass_gate });
    assert_int_equal(plait_thread_enumerate(some, 1, &count), 0);
    assert_true(count >= 4); /* main, too */
    assert_non_null(some[0]);
    assert_null(some[1]);
    plait_thread_free(some[0]);
    assert_int_equal(plait_thread_enumerate(NULL, 0, &count), 0);
    assert_true(count >= 4);
    plait_event_set(&gate);
    for (int i = 0; i < 3; i++)
        end(threads[i]);
}

/* A handle that was listed outlives the one with which the thread was made. */
static void listed_handle_is_good_for_itself(void **state)
{
    plait_thread_t *thread, *all[MANY], *mine = NULL;
    int there = 7;
    void *result;
    size_t count;

    gate_close();
    thread = start_with(&(struct plait_thread_opts){ .target = pass_gate, .arg = &there, .name = "listed" });
    assert_int_equal(plait_thread_enumerate(all, MANY, &count), 0);
    for (size_t i = 0; i < count; i++)
        if (all[i] == thread)
            mine = all[i];
        else
            plait_thread_free(all[i]);
    plait_thread_free(thread);
    assert_non_null(mine);
    assert_string_equal(plait_thread_name(mine), "listed");
    plait_event_set(&gate);
    assert_int_equal(plait_thread_join(mine, &result, PLAIT_FOREVER), 0);
    assert_ptr_equal(result, &there);
    plait_thread_free(mine);
}

static void *list_all_the_time(void *arg)
{
    while (!plait_event_is_set(&gate)) {
        plait_thread_t *all[MANY];
        size_t count;

        plait_thread_enumerate(all, MANY, &count);
        for (size_t i = 0; i < count && i < MANY; i++) {
            if (plait_thread_name(all[i])[0] == 0)
                return NULL;
            plait_thread_free(all[i]);
        }
    }
    return arg;
}

static void *do_nothing(void *arg) { return arg; }

static void threads_come_and_go_while_others_list_them(void **state)
{
    plait_thread_t *listers[2];

    gate_close();
    for (int i = 0; i < 2; i++)
        listers[i] = start_with(&(struct plait_thread_opts){ .target = list_all_the_time, .arg = &gate });
    for (int i = 0; i < 300; i++) {
        plait_thread_t *thread = start_with(&(struct plait_thread_opts){ .target = do_nothing });

        if (i % 2)
            plait_thread_free(thread);
        else
            end(thread);
    }
    plait_event_set(&gate);
    for (int i = 0; i < 2; i++)
        assert_ptr_equal(end(listers[i]), &gate);
}

/* ---- Who made them ---- */

static void main_thread_is_known_as_main(void **state)
{
    plait_thread_t *self = plait_thread_current();

    assert_non_null(self);
    assert_string_equal(plait_thread_name(self), "main");
    assert_true(plait_thread_is_alive(self));
    assert_true(plait_thread_is_daemon(self));
    assert_int_equal(plait_thread_native_id(self), getpid());
    assert_int_equal(plait_thread_join(self, NULL, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_thread_start(self), EBUSY);
    assert_ptr_equal(plait_thread_current(), self);
    assert_int_equal(count_among(&self, 1), 1);
}

struct stranger {
    plait_thread_t *self;
    pthread_t pthread;
    pid_t id;
};

static void *ask_who_it_is(void *arg)
{
    struct stranger *s = arg;
    plait_thread_t *all[MANY];
    size_t count;

    pthread_setname_np(pthread_self(), "stranger");
    s->self = plait_thread_current();
    s->id = plait_thread_native_id(s->self);
    plait_thread_pthread(s->self, &s->pthread);
    plait_thread_enumerate(all, MANY, &count);
    for (size_t i = 0; i < count; i++)
        if (all[i] != s->self)
            plait_thread_free(all[i]); /* that one the test keeps */
    return pass_gate(syscall(SYS_gettid) == s->id ? s : NULL);
}

static void thread_made_by_pthreads_gets_a_handle_when_it_asks(void **state)
{
    struct stranger s = { 0 };
    void *result = &s;
    pthread_t pthread;

    gate_close();
    assert_int_equal(pthread_create(&pthread, NULL, ask_who_it_is, &s), 0);
    plait_event_wait(&inside, PLAIT_FOREVER);
    assert_string_equal(plait_thread_name(s.self), "stranger");
    assert_true(plait_thread_is_alive(s.self));
    assert_true(pthread_equal(pthread, s.pthread));
    assert_int_equal(count_among(&s.self, 1), 1);
    assert_int_equal(plait_thread_join(s.self, NULL, PLAIT_NOW), ETIMEDOUT);
    plait_event_set(&gate);
    assert_int_equal(plait_thread_join(s.self, &result, PLAIT_FOREVER), 0);
    assert_null(result); /* that is its maker's */
    assert_false(plait_thread_is_alive(s.self));
    assert_int_equal(plait_thread_native_id(s.self), 0);
    assert_int_equal(count_among(&s.self, 1), 0);
    plait_thread_free(s.self);
    assert_int_equal(pthread_join(pthread, &result), 0);
    assert_ptr_equal(result, &s);
}

static void *report_id(void *arg)
{
    *(pid_t *)arg = (pid_t)syscall(SYS_gettid);
    return pass_gate(NULL);
}

static void native_id_is_the_kernels(void **state)
{
    plait_thread_t *thread;
    pid_t id = 0;

    gate_close();
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = report_id, .arg = &id }), 0);
    assert_int_equal(plait_thread_native_id(thread), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    assert_true(plait_thread_native_id(thread) > 0);
    plait_event_wait(&inside, PLAIT_FOREVER);
    assert_int_equal(plait_thread_native_id(thread), id);
    plait_event_set(&gate);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_native_id(thread), 0);
    plait_thread_free(thread);
}

static int list_in_child(void *arg)
{
    plait_thread_t *all[MANY], *other = arg;
    size_t count;

    plait_thread_enumerate(all, MANY, &count);
    if (count != 1 || all[0] != plait_thread_current() || plait_thread_active_count() != 1)
        return 1;
    if (plait_thread_native_id(all[0]) != getpid() || plait_thread_native_id(other) != 0)
        return 2;
    plait_thread_free(all[0]);
    plait_thread_free(other);
    return 0;
}

static void child_of_fork_has_the_forking_thread_alone(void **state)
{
    plait_thread_t *thread;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* a child of a threaded program */
#endif
    gate_close();
    thread = start_with(&(struct plait_thread_opts){ .target = pass_gate });
    assert_int_equal(child_run(list_in_child, thread), 0);
    plait_event_set(&gate);
    end(thread);
}

/* ---- Where and how they run ---- */

static void *count_cpus(void *arg)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) != 1)
        return NULL;
    return CPU_ISSET(*(unsigned *)arg, &set) ? arg : NULL;
}

static void thread_runs_on_the_cpus_it_was_given(void **state)
{
    cpu_set_t set;

    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (unsigned cpu = 0; cpu < 64; cpu++)
        if (CPU_ISSET(cpu, &set)) {
            unsigned given = cpu;
            plait_thread_t *thread = start_with(
                &(struct plait_thread_opts){ .target = count_cpus, .arg = &given, .cpus = &given, .cpu_count = 1 });

            assert_ptr_equal(end(thread), &given);
        }
}

static void cpus_that_there_are_not_are_refused(void **state)
{
    static const unsigned none[] = { 4095 }, above[] = { 0, 4096 };
    plait_thread_t *thread = NULL;

    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = do_nothing, .cpus = none }), EINVAL);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = do_nothing, .cpu_count = 1 }), EINVAL);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = do_nothing, .cpus = above, .cpu_count = 2 }),
                     EINVAL);
    assert_null(thread);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = do_nothing, .cpus = none, .cpu_count = 1 }), 0);
    for (int i = 0; i < 2; i++) {
        size_t before = plait_thread_active_count();

        assert_int_equal(plait_thread_start(thread), EINVAL);
        assert_false(plait_thread_is_alive(thread));
        assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), EINVAL);
        assert_in_range(plait_thread_active_count(), before, before + 1); /* main may be listed from now on */
    }
    plait_thread_free(thread);
}

static void *report_policy(void *arg)
{
    struct sched_param param;
    int policy;

    return pthread_getschedparam(pthread_self(), &policy, &param) == 0 && policy == SCHED_FIFO && param.sched_priority == 3 ? arg : NULL;
}

static void thread_has_the_policy_and_priority_it_was_given(void **state)
{
    struct plait_thread_opts opts = { .target = report_policy, .arg = &opts, .policy = SCHED_FIFO, .priority = 3 };
    plait_thread_t *thread;
    int err;

    assert_int_equal(plait_thread_new(&thread, &opts), 0);
    err = plait_thread_start(thread);
    if (err == EPERM) { /* nor would a pthread be allowed to */
        plait_thread_free(thread);
        skip();
    }
    assert_int_equal(err, 0);
    assert_ptr_equal(end(thread), &opts);
}

static void policy_or_priority_that_there_is_not_is_refused(void **state)
{
    plait_thread_t *thread = NULL;
    struct plait_thread_opts opts = { .target = do_nothing, .policy = SCHED_FIFO, .priority = 0 };

    assert_int_equal(plait_thread_new(&thread, &opts), EINVAL);
    opts.priority = 100;
    assert_int_equal(plait_thread_new(&thread, &opts), EINVAL);
    opts = (struct plait_thread_opts){ .target = do_nothing, .policy = 77 };
    assert_int_equal(plait_thread_new(&thread, &opts), EINVAL);
    opts = (struct plait_thread_opts){ .target = do_nothing, .priority = 1 };
    assert_int_equal(plait_thread_new(&thread, &opts), EINVAL);
    assert_null(thread);
}

/* ---- How they fail ---- */

static struct {
    plait_thread_t *thread;
    int code, calls;
    char text[300];
} told;

static void note_failure(plait_thread_t *thread, int code, const char *text)
{
    told.thread = thread;
    told.code = code;
    told.calls++;
    snprintf(told.text, sizeof told.text, "%s", text);
}

static void set_flag(void *flag) { *(int *)flag = 1; }

static void *fail_in_room_5(void *arg)
{
    pthread_cleanup_push(set_flag, arg);
    plait_thread_fail(EACCES, "no way into %s", "room 5");
    pthread_cleanup_pop(0);
    return arg;
}

static void failed_thread_calls_the_hook_and_tells_who_asks(void **state)
{
    plait_thread_failed_fn *before = plait_thread_set_failure_hook(note_failure);
    plait_thread_t *thread;
    void *result = &told;
    int cleaned_up = 0;

    memset(&told, 0, sizeof told);
    assert_non_null(before);
    thread = start_with(&(struct plait_thread_opts){ .target = fail_in_room_5, .arg = &cleaned_up });
    assert_int_equal(plait_thread_join(thread, &result, PLAIT_FOREVER), 0);
    assert_null(result);
    assert_int_equal(cleaned_up, 1);
    assert_int_equal(told.calls, 1);
    assert_ptr_equal(told.thread, thread);
    assert_int_equal(told.code, EACCES);
    assert_string_equal(told.text, "no way into room 5");
    assert_int_equal(plait_thread_error(thread), EACCES);
    assert_string_equal(plait_thread_error_text(thread), "no way into room 5");
    plait_thread_free(thread);
    assert_ptr_equal(plait_thread_set_failure_hook(before), note_failure);
}

static void *fail_at_length(void *arg)
{
    char text[400];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    plait_thread_fail(0, "%s", text);
}

static void text_of_a_failure_is_cut_and_its_code_is_never_0(void **state)
{
    plait_thread_failed_fn *before = plait_thread_set_failure_hook(NULL);
    plait_thread_t *thread = start_with(&(struct plait_thread_opts){ .target = fail_at_length });

    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_error(thread), EINVAL);
    assert_int_equal(strlen(plait_thread_error_text(thread)), 255);
    plait_thread_free(thread);
    assert_null(plait_thread_set_failure_hook(before));
}

static void thread_that_did_not_fail_has_no_error(void **state)
{
    plait_thread_t *thread;

    gate_close();
    thread = start_with(&(struct plait_thread_opts){ .target = pass_gate });
    assert_int_equal(plait_thread_error(thread), 0);
    assert_string_equal(plait_thread_error_text(thread), "");
    plait_event_set(&gate);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_error(thread), 0);
    assert_string_equal(plait_thread_error_text(thread), "");
    plait_thread_free(thread);
}

/* Without a hook of the program's own: one line to standard error. */
static int fail_in_child(void *pipe_end)
{
    plait_thread_t *thread;
    int unused;

    dup2(*(int *)pipe_end, 2);
    if (plait_thread_new(&thread, &(struct plait_thread_opts){ .target = fail_in_room_5, .arg = &unused, .name = "digger" }) ||
        plait_thread_start(thread))
        return 1;
    return plait_thread_join(thread, NULL, PLAIT_FOREVER);
}

static void failure_is_written_to_standard_error_at_first(void **state)
{
    char text[400] = "";
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(child_run(fail_in_child, &ends[1]), 0);
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_non_null(strstr(text, "digger"));
    assert_non_null(strstr(text, "no way into room 5"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failure_is_written_to_standard_error_at_first), /* its child starts threads: before there are others */
        cmocka_unit_test(threads_are_listed_from_their_start_to_their_end),
        cmocka_unit_test(no_more_handles_are_given_than_there_is_room_for),
        cmocka_unit_test(listed_handle_is_good_for_itself),
        cmocka_unit_test(threads_come_and_go_while_others_list_them),
        cmocka_unit_test(main_thread_is_known_as_main),
        cmocka_unit_test(thread_made_by_pthreads_gets_a_handle_when_it_asks),
        cmocka_unit_test(native_id_is_the_kernels),
        cmocka_unit_test(child_of_fork_has_the_forking_thread_alone),
        cmocka_unit_test(thread_runs_on_the_cpus_it_was_given),
        cmocka_unit_test(cpus_that_there_are_not_are_refused),
        cmocka_unit_test(thread_has_the_policy_and_priority_it_was_given),
        cmocka_unit_test(policy_or_priority_that_there_is_not_is_refused),
        cmocka_unit_test(failed_thread_calls_the_hook_and_tells_who_asks),
        cmocka_unit_test(text_of_a_failure_is_cut_and_its_code_is_never_0),
        cmocka_unit_test(thread_that_did_not_fail_has_no_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
