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

#include "kill/way.h"
#include "kill/world.h"
#include "support/cmocka.h"
#include "wait/spin.h"

enum { STEP_HANG_SECONDS = 30 };

/*
 * In the short version, kills for each operation: every k where they suffice, else some, other ones in each run. Counted and not
 * timed, so that a slow machine makes as many; fewer where others have to be started and to fall asleep each time, and still fewer
 * where the child has to be stepped all the way. A broken one must be noticed.
 */
enum { KILLS_ALONE = 16, KILLS_AMONG_OTHERS = 6, KILLS_STEPPED = 2, KILLS_OF_BROKEN = 30 };

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
    &step_line,
    &step_failure,
    &step_arena,
    &step_member,
};

enum { TABLES = sizeof tables / sizeof tables[0], OPS_MAX = 500 };

struct step_page *step_page;
static pid_t child, helper, waker;
static bool soak, step_slowly;
static unsigned seed;
static unsigned long kills_made;
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

/* To the end of the operation, whose way is written down. How many instructions; -1: it crashed. */
static long step_to_the_end(void)
{
    long count = 0;

    for (way_begin(child); !step_page->done; way_note(child), count++)
        if (!way_step(child))
            return -1;
    return count;
}

/*
 * Where somebody runs beside the child, it has to be as slow as when its way was written down. Slowly is also how in the long version
 * those are killed again who have gone another way.
 */
static long step_to(const struct step_op *op, long k)
{
    long count = 0;

    if (!op->waker && !step_slowly)
        return way_go(child, k, &step_page->done);
    for (; count < k && !step_page->done; count++)
        if (!way_step(child))
            return -1;
    return count;
}

/* Step, kill, verify. What is wrong, or NULL. */
static const char *step_and_kill(const struct step_op *op, long k, long *count_out, bool *done_out)
{
    *count_out = k == LONG_MAX ? step_to_the_end() : step_to(op, k);
    if (*count_out < 0)
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

/* How many kills an operation gets. */
static long kills_for(const struct step_op *op)
{
    const char *kills = getenv("PLAIT_STEP_KILLS");

    if (soak)
        return LONG_MAX;
    if (kills)
        return atol(kills);
    if (op->hangs)
        return KILLS_OF_BROKEN;
    if (op->waker)
        return KILLS_STEPPED;
    return op->helper ? KILLS_AMONG_OTHERS : KILLS_ALONE;
}

static void step_through(void **state)
{
    const struct step_op *op = *state;
    const char *at = getenv("PLAIT_STEP_AT");
    unsigned long strays = way_strays, before;
    long length, taken, faults = 0, rounds = 0, wanted, count, stride, k;
    const char *wrong;
    bool done;

    wrong = kill_after(op, LONG_MAX, &length, &done);
    if (wrong && !op->hangs)
        fail_msg("%s, not killed: %s", op->name, wrong);
    count = length + 1;
    wanted = kills_for(op);
    stride = stride_for(count);
    for (k = rand_r(&seed) % count; rounds < count && rounds < wanted; k = (k + stride) % count) {
        if (at)
            k = atol(at);
        before = way_strays;
        wrong = kill_after(op, k, &taken, &done);
        if (!wrong && soak && way_strays > before) {
            step_slowly = true;
            wrong = kill_after(op, k, &taken, &done);
            step_slowly = false;
        }
        rounds++;
        faults += wrong != NULL;
        if (wrong && !op->hangs)
            fail_msg("%s, killed after instruction %ld of %ld: %s", op->name, k, length, wrong);
    }
    if (op->hangs && faults == 0)
        fail_msg("%s: the harness has not noticed", op->name);
    print_message("%s: %ld instructions, %ld kills%s, %lu of them on another way\n", op->name, length, rounds,
                  rounds == count ? ", every one" : "", way_strays - strays);
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
    possible = way_step(pid);
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

/* Which part of how many is this? */
static void read_part(unsigned *part_out, unsigned *parts_out)
{
    const char *share = getenv("PLAIT_STEP_PART");

    *part_out = *parts_out = 1;
    if (share && (sscanf(share, "%u/%u", part_out, parts_out) != 2 || *part_out < 1 || *part_out > *parts_out)) {
        fprintf(stderr, "PLAIT_STEP_PART=%s: not as 1/2\n", share);
        exit(2);
    }
}

static void list_tests(struct CMUnitTest *tests, unsigned part, unsigned parts)
{
    const char *only = getenv("PLAIT_STEP_ONLY");
    size_t number = 0, count = 0;

    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t]->count && count < OPS_MAX; i++) {
            const struct step_op *op = &tables[t]->ops[i];

            if ((!only || strstr(op->name, only)) && number++ % parts == part - 1)
                tests[count++] = (struct CMUnitTest){ op->name, step_through, make, drop, (void *)(uintptr_t)op };
        }
}

/*
 * On one CPU: so the library thinks that there is one, for spins are thousands of instructions that change nothing; and a step, which is a
 * hand-over from here to the child and back, takes a third of the time that it takes between two. Those who share the cases take one each.
 */
static void stay_on_one_cpu(unsigned number)
{
    cpu_set_t all, one;
    int cpu = -1;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all))
        return;
    number %= (unsigned)CPU_COUNT(&all);
    do
        cpu++;
    while (!CPU_ISSET(cpu, &all) || number-- > 0);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    plait__cpus();
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[OPS_MAX];
    unsigned part, parts;
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
    read_part(&part, &parts);
    stay_on_one_cpu(part - 1);
    list_tests(tests, part, parts);
    failed = cmocka_run_group_tests_name("single_step", tests, NULL, NULL);
    print_message("%lu kills, %lu steps, %lu breakpoints, %lu went another way\n", kills_made, way_steps, way_hits, way_strays);
    return failed;
}
