/* SPDX-License-Identifier: MIT */
/*
 * A participant is killed at every single instruction of each operation, and the others go on: nothing hangs, nothing
 * that was committed is lost, counts are right. Usage: single_step [--soak] [SEED]; PLAIT_STEP_ONLY: a part of a name;
 * PLAIT_STEP_KILLS: so many for each case; PLAIT_STEP_AT: kill after this instruction, again and again; PLAIT_STEP_PART=2/3: of
 * three that share the cases, the second.
 */
#include "kill/step.h"

#include <limits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "kill/world.h"
#include "support/cmocka.h"
#include "wait/spin.h"

enum { STEP_HANG_SECONDS = 30 };

/*
 * In the short version, kills for each operation: every k where they suffice, else some, other ones in each run. Counted and not
 * timed, so that a slow machine makes as many; where others have to be started and to fall asleep each time, fewer, and of a long
 * operation as many as these steps suffice for. A broken one must be noticed.
 */
enum { KILLS_ALONE = 4, KILLS_AMONG_OTHERS = 2, KILLS_MIN = 2, KILLS_OF_BROKEN = 30, STEPS = 12000 };

static const struct step_table *const tables[] = {
    &step_lock,
    &step_rwlock,
    &step_sem,
    &step_cancel,
    &step_queue,
    &step_pile,
    &step_message,
    &step_joinable,
    &step_pipe,
    &step_broadcast,
    &step_dict,
    &step_list,
    &step_latest,
    &step_array,
    &step_cond,
    &step_barrier,
    &step_any,
    &step_once,
    &step_arena,
    &step_member,
};

enum { TABLES = sizeof tables / sizeof tables[0], OPS_MAX = 500 };

struct step_page *step_page;
static pid_t child, helper, waker;
static bool soak;
static unsigned seed;
static unsigned long steps_taken, kills_made;
static char where[200];

/* The allocator's own lock has no deadline: a hang there ends the program. */
static void report_hang(int signal_number)
{
    static const char text[] = "HANG: the test itself waits for ever: ";

    if (write(2, text, sizeof text - 1) < 0 || write(2, where, strlen(where)) < 0 || write(2, "\n", 1) < 0)
        _exit(2);
    _exit(1);
}

static bool await_state(pid_t pid, const char *states)
{
    plait_time_t deadline = plait_after(10);
    char state;

    while (((state = child_state(pid)) == 0 || !strchr(states, state)) && plait_now() < deadline)
        sched_yield(); /* no sleep: somebody may wait to see the caller asleep itself, in something else */
    return state && strchr(states, state);
}

bool await_sleep(pid_t pid) { return await_state(pid, "S"); }
bool await_sleep_or_end(pid_t pid) { return await_state(pid, "SZ"); }

void await_child(void)
{
    char state;

    while ((state = child_state(child)) != 'S' && state != 'Z' && state != 0)
        sched_yield();
}

static void be_stepped(const struct step_op *op)
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
static pid_t fork_child(const struct step_op *op)
{
    int status;
    pid_t pid;

    step_page->done = 0;
    step_page->out = 0;
    pid = fork();
    if (pid == 0)
        be_stepped(op);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    return pid;
}

/* One instruction. False: the child is not there any more. */
static bool step_once_more(pid_t pid)
{
    int status;

    if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) != 0 || waitpid(pid, &status, 0) != pid)
        return false;
    steps_taken++;
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static void kill_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    kills_made++;
}

/* Verify has waited for it if all is well. */
static void bury(pid_t *pid)
{
    if (*pid) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}

static const char *start_others(const struct step_op *op)
{
    if (op->helper) {
        helper = child_start(op->helper, NULL);
        if (op->helper_may_end ? !await_sleep_or_end(helper) : !await_sleep(helper))
            return "the helper did not fall asleep";
    }
    if (op->waker)
        waker = child_start(op->waker, NULL);
    return NULL;
}

/* Step, kill, verify. What is wrong, or NULL. */
static const char *step_and_kill(const struct step_op *op, long k, long *count_out, bool *done_out)
{
    for (*count_out = 0; *count_out < k && !step_page->done; ++*count_out)
        if (!step_once_more(child))
            return "the child crashed";
    *done_out = step_page->done;
    kill_child(child);
    return op->verify(*done_out);
}

/* Prepare first, and clear away afterwards. *done_out: the operation was over before k. */
static const char *kill_after(const struct step_op *op, long k, long *count_out, bool *done_out)
{
    const char *wrong;

    snprintf(where, sizeof where, "%s, killed after instruction %ld", op->name, k);
    alarm(STEP_HANG_SECONDS);
    if (op->prepare)
        op->prepare();
    child = fork_child(op);
    wrong = child < 0 ? "no child" : start_others(op);
    if (!wrong)
        wrong = step_and_kill(op, k, count_out, done_out);
    bury(&helper);
    bury(&waker);
    alarm(0);
    return wrong;
}

static int end_by(pid_t *pid, int seconds)
{
    int status = *pid ? child_end_by(*pid, seconds) : 0;

    *pid = 0;
    return status;
}

int helper_end_by(int seconds) { return end_by(&helper, seconds); }
int waker_end_by(int seconds) { return end_by(&waker, seconds); }

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

/* How many kills an operation of so many instructions gets. */
static long kills_for(const struct step_op *op, long length)
{
    const char *kills = getenv("PLAIT_STEP_KILLS");
    long affordable = STEPS / (length / 2 + 1);

    if (soak)
        return LONG_MAX;
    if (kills)
        return atol(kills);
    if (op->hangs)
        return KILLS_OF_BROKEN;
    if (op->helper || op->waker)
        return KILLS_AMONG_OTHERS;
    if (affordable < KILLS_MIN)
        return KILLS_MIN;
    return affordable < KILLS_ALONE ? affordable : KILLS_ALONE;
}

static void step_through(void **state)
{
    const struct step_op *op = *state;
    const char *at = getenv("PLAIT_STEP_AT");
    long length, taken, faults = 0, rounds = 0, wanted, count, stride, k;
    const char *wrong;
    bool done;

    wrong = kill_after(op, LONG_MAX, &length, &done);
    if (wrong && !op->hangs)
        fail_msg("%s, not killed: %s", op->name, wrong);
    count = length + 1;
    wanted = kills_for(op, length);
    stride = stride_for(count);
    for (k = rand_r(&seed) % count; rounds < count && rounds < wanted; k = (k + stride) % count) {
        if (at)
            k = atol(at);
        wrong = kill_after(op, k, &taken, &done);
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
static bool can_step(void)
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
    possible = step_once_more(pid);
    kill_child(pid);
    return possible;
}

static int make(void **state)
{
    return make_world();
}

static int drop(void **state)
{
    alarm(0);
    return drop_world();
}

static void list_tests(struct CMUnitTest *tests)
{
    const char *only = getenv("PLAIT_STEP_ONLY"), *share = getenv("PLAIT_STEP_PART");
    size_t part = 1, parts = 1, number = 0, count = 0;

    if (share && (sscanf(share, "%zu/%zu", &part, &parts) != 2 || part < 1 || part > parts)) {
        fprintf(stderr, "PLAIT_STEP_PART=%s: not as 1/2\n", share);
        exit(2);
    }

    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t]->count && count < OPS_MAX; i++) {
            const struct step_op *op = &tables[t]->ops[i];

            if ((!only || strstr(op->name, only)) && number++ % parts == part - 1)
                tests[count++] = (struct CMUnitTest){ op->name, step_through, make, drop, (void *)(uintptr_t)op };
        }
}

/* Have the library think that there is one CPU: spins are thousands of instructions that change nothing. */
static void forgo_spins(void)
{
    cpu_set_t all, one;

    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_getaffinity(0, sizeof all, &all) || sched_setaffinity(0, sizeof one, &one))
        return;
    plait__cpus();
    sched_setaffinity(0, sizeof all, &all);
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[OPS_MAX];
    int failed;

    /* String instructions would be stepped byte by byte. */
    if (!getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES",
               "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000", 1);
        execv("/proc/self/exe", argv);
    }
    soak = argc > 1 && strcmp(argv[1], "--soak") == 0;
    seed = argc > 1 + soak ? (unsigned)atoi(argv[1 + soak]) : (unsigned)time(NULL);
    signal(SIGALRM, report_hang);
    step_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (step_page == MAP_FAILED)
        return 99;
    if (!can_step()) {
        print_message("ptrace is refused here: skipped\n");
        return 77;
    }
    print_message("seed %u\n", seed);
    forgo_spins();
    list_tests(tests);
    failed = cmocka_run_group_tests_name("single_step", tests, NULL, NULL);
    print_message("%lu kills, %lu steps\n", kills_made, steps_taken);
    return failed;
}
