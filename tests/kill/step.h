/* SPDX-License-Identifier: MIT */
/* Stepping: kill a child after its first, second, third... instruction of an operation, and use the object then. */
#ifndef TESTS_KILL_STEP_H
#define TESTS_KILL_STEP_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <time.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

/*
 * For k = 0, 1, 2, ...: prepare; fork; the child executes exactly k instructions of the operation and is killed (a system
 * call counts as one); verify. Until the operation is over before k.
 */
struct step_op {
    const char *name;
    void (*prepare)(void);              /* in the test */
    void (*before)(void);               /* in the child, not stepped; may be NULL */
    void (*operate)(void);              /* in the child, stepped */
    int (*helper)(void *unused);        /* another child, asleep before the first step; may be NULL */
    const char *(*verify)(bool done);   /* in the test: NULL, or what is wrong; done: the operation was over */
    bool hangs;                         /* a broken one: that verify finds fault is what is expected */
};

/* Where the child says how far it is. */
struct step_page {
    volatile int done;
    volatile long out; /* what the operation answers */
};

static struct step_page *step_page;
static pid_t step_helper;
static bool step_soak;
static unsigned step_seed;
static unsigned long steps_taken, kills_made;

enum { STEP_HANG_SECONDS = 30 };

/* In the short version, seconds for one operation: every k if they suffice, else some, other ones in each run. */
#define STEP_SECONDS 5.0

static char step_where[200];

/* The allocator's own lock has no deadline: a hang there ends the program. */
static void step_hangs(int signal_number)
{
    static const char text[] = "HANG: the test itself waits for ever: ";

    if (write(2, text, sizeof text - 1) < 0 || write(2, step_where, strlen(step_where)) < 0 || write(2, "\n", 1) < 0)
        _exit(2);
    _exit(1);
}

/* Does the process sleep? The helpers do so nowhere but in a wait. */
static inline bool is_asleep(pid_t pid)
{
    char path[64], text[256], *state;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    state = strrchr(text, ')');
    return state && state[1] == ' ' && state[2] == 'S';
}

/* The helper has nothing else to do than to fall asleep: wait for it. */
static inline bool await_sleep(pid_t pid)
{
    plait_time_t deadline = plait_after(10);

    while (!is_asleep(pid))
        if (plait_now() > deadline)
            return false;
    return true;
}

static void step_child(const struct step_op *op)
{
    child_default_signals();
    alarm(0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (op->before)
        op->before();
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
        _exit(77);
    raise(SIGSTOP);
    op->operate();
    step_page->done = 1;
    for (;;)
        raise(SIGSTOP);
}

/* Fork a child that is about to begin. */
static pid_t step_fork(const struct step_op *op)
{
    int status;
    pid_t pid;

    step_page->done = 0;
    step_page->out = 0;
    pid = fork();
    if (pid == 0)
        step_child(op);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    return pid;
}

/* One instruction. False: the child is not there any more. */
static inline bool step_once(pid_t pid)
{
    int status;

    if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) != 0 || waitpid(pid, &status, 0) != pid)
        return false;
    steps_taken++;
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static void step_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    kills_made++;
}

/* Prepare, step, kill, verify. What is wrong, or NULL. *done_out: the operation was over before k. */
static const char *step_round(const struct step_op *op, long k, long *count_out, bool *done_out)
{
    const char *wrong;
    long count = 0;
    pid_t pid;

    snprintf(step_where, sizeof step_where, "%s, killed after instruction %ld", op->name, k);
    alarm(STEP_HANG_SECONDS);
    op->prepare();
    step_helper = 0;
    pid = step_fork(op);
    if (pid < 0)
        return "no child";
    if (op->helper) {
        step_helper = child_start(op->helper, NULL);
        if (!await_sleep(step_helper))
            return "the helper did not fall asleep";
    }
    while (count < k && !step_page->done) {
        if (!step_once(pid))
            return "the child crashed";
        count++;
    }
    *done_out = step_page->done;
    *count_out = count;
    step_kill(pid);
    wrong = op->verify(*done_out);
    if (step_helper) { /* verify has waited for it if all is well */
        kill(step_helper, SIGKILL);
        waitpid(step_helper, NULL, 0);
    }
    alarm(0);
    return wrong;
}

/* The exit status of the helper, which ends by itself within `seconds`. */
static int helper_end_by(int seconds)
{
    int status = child_end_by(step_helper, seconds);

    step_helper = 0;
    return status;
}

static long common_divisor(long a, long b)
{
    return b ? common_divisor(b, a % b) : a;
}

/* Visit 0..count-1, each once, in strides that leave no large gap wherever one stops. */
static long stride_for(long count)
{
    long stride = (long)((double)count * 0.618) | 1;

    while (common_divisor(count, stride) != 1)
        stride++;
    return stride;
}

static void step_through(void **state)
{
    const struct step_op *op = *state;
    long length, taken, faults = 0, rounds = 0, count, stride, k;
    plait_time_t until = step_soak ? PLAIT_FOREVER : plait_after(STEP_SECONDS);
    const char *wrong, *only = getenv("PLAIT_STEP_ONLY");
    bool done;

    if (only && !strstr(op->name, only))
        skip();
    wrong = step_round(op, LONG_MAX, &length, &done);
    if (wrong && !op->hangs)
        fail_msg("%s, not killed: %s", op->name, wrong);
    count = length + 1;
    stride = stride_for(count);
    for (k = rand_r(&step_seed) % count; rounds < count && plait_now() < until; k = (k + stride) % count) {
        wrong = step_round(op, k, &taken, &done);
        rounds++;
        faults += wrong != NULL;
        if (wrong && !op->hangs)
            fail_msg("%s, killed after instruction %ld of %ld: %s", op->name, k, length, wrong);
    }
    if (op->hangs && faults == 0)
        fail_msg("%s: the harness has not noticed", op->name);
    print_message("%s: %ld instructions, %ld kills%s\n", op->name, length, rounds,
                  rounds == count ? ", every one" : "");
}

/* Is ptrace allowed here, and does it step? */
static bool step_is_possible(void)
{
    pid_t pid = fork();
    bool possible;
    int status;

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return false;
    possible = step_once(pid);
    step_kill(pid);
    return possible;
}

#endif
