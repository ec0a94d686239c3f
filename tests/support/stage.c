/* SPDX-License-Identifier: MIT */
#include "support/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wait/robust.h"

#define JOIN_SECONDS 20

static uint64_t seed;

enum setting stage_settings[3] = { STAGE_PRIVATE, STAGE_THREADS, STAGE_PROCESSES };

void stage_pause(void)
{
    struct timespec moment = { .tv_nsec = 200000 };

    nanosleep(&moment, NULL);
}

void *stage_alloc(struct stage *stage, size_t size)
{
    void *memory = NULL;

    return plait_arena_alloc(stage->arena, size, &memory) == 0 ? memory : NULL;
}

int stage_up(void **state)
{
    enum setting setting = *(enum setting *)*state;
    struct stage *stage = calloc(1, sizeof *stage);

    if (!stage)
        return 1;
    *state = stage;
    stage->setting = setting;
    stage->flags = setting == STAGE_PRIVATE ? 0 : PLAIT_SHARED;
    if (plait_arena_new(&stage->arena,
                        &(struct plait_arena_opts){ .limit = 4u << 20, .participants = STAGE_WORKERS_MAX + 8 }) != 0)
        return 1;
    stage->workers = stage_alloc(stage, STAGE_WORKERS_MAX * sizeof *stage->workers);
    return stage->workers == NULL;
}

int stage_down(void **state)
{
    struct stage *stage = *state;
    int err = 0;

    plait_cancel_bind(NULL);
    for (unsigned i = 0; i < stage->worker_count; i++) {
        struct worker *w = &stage->workers[i];

        if (w->started && !w->ended && stage->setting == STAGE_PROCESSES)
            worker_kill(w);
        else if (w->started && !w->ended && !worker_join(w))
            err = 1; /* its memory stays: it may be running still */
    }
    if (err == 0)
        err = plait_arena_free(stage->arena);
    free(stage);
    return err;
}

static void *run_thread(void *arg)
{
    struct worker *w = arg;

    __atomic_store_n(&w->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    w->run(w);
    return NULL;
}

static void run_process(struct worker *w)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    __atomic_store_n(&w->tid, (uint32_t)getpid(), __ATOMIC_RELEASE);
    w->run(w);
    _exit(0);
}

struct worker *worker_start(struct stage *stage, void (*run)(struct worker *), void *with)
{
    struct worker *w = &stage->workers[stage->worker_count];

    if (stage->worker_count == STAGE_WORKERS_MAX)
        return NULL;
    *w = (struct worker){ .stage = stage, .run = run, .with = with, .number = stage->worker_count, .result = -1 };
    w->random = seed += 0x9e3779b97f4a7c15u;
    if (stage->setting != STAGE_PROCESSES) {
        if (pthread_create(&w->thread, NULL, run_thread, w) != 0)
            return NULL;
    } else {
        pid_t pid;

        fflush(NULL);
        pid = fork();
        if (pid < 0)
            return NULL;
        if (pid == 0)
            run_process(w);
        w->pid = pid; /* the parent's to write: *w is shared */
    }
    w->started = true;
    stage->worker_count++;
    return w;
}

static bool join_thread(struct worker *w)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_SECONDS;
    if (pthread_timedjoin_np(w->thread, NULL, &until) != 0)
        return false;
    /* Libc says so a moment before the thread is gone, and without robust lists only then it counts as dead. */
    return plait__robust_list_works() || EVENTUALLY(kill((pid_t)w->tid, 0) != 0 && errno == ESRCH);
}

static bool join_process(struct worker *w)
{
    plait_time_t end = plait_after(JOIN_SECONDS);

    while (waitpid(w->pid, NULL, WNOHANG) == 0) {
        if (plait_now() > end) {
            worker_kill(w);
            return false;
        }
        stage_pause();
    }
    return true;
}

bool worker_join(struct worker *w)
{
    if (!w || !w->started)
        return false;
    if (!w->ended)
        w->ended = w->stage->setting == STAGE_PROCESSES ? join_process(w) : join_thread(w);
    return w->ended;
}

int worker_result(struct worker *w)
{
    return worker_join(w) ? w->result : -1;
}

void worker_kill(struct worker *w)
{
    kill(w->pid, SIGKILL);
    waitpid(w->pid, NULL, 0);
    w->ended = true;
}

void worker_die(struct worker *self)
{
    if (self->stage->setting == STAGE_PROCESSES)
        raise(SIGKILL);
    pthread_exit(NULL);
}

void worker_says(struct worker *self, uint32_t phase)
{
    __atomic_store_n(&self->phase, phase, __ATOMIC_RELEASE);
}

bool worker_said(struct worker *w, uint32_t phase)
{
    return w && EVENTUALLY(__atomic_load_n(&w->phase, __ATOMIC_ACQUIRE) >= phase);
}

bool worker_sleeps(struct worker *w, uint32_t phase)
{
    return worker_said(w, phase) && EVENTUALLY(thread_sleeps(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE)));
}

unsigned worker_random(struct worker *self, unsigned below)
{
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(self->random >> 33) % below;
}

bool thread_sleeps(uint32_t tid)
{
    char path[48], text[256];
    const char *end;
    ssize_t n;
    int fd;

    /* by way of the task folder: of this process itself, qemu-user makes /proc/PID/stat up */
    snprintf(path, sizeof path, "/proc/%u/task/%u/stat", tid, tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    end = strrchr(text, ')');
    return end && end[1] == ' ' && end[2] == 'S';
}

uint64_t stage_seed(void)
{
    const char *given = getenv("PLAIT_SEED");

    seed = given ? strtoull(given, NULL, 0) : (uint64_t)plait_now();

    printf("PLAIT_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

double stage_stress_seconds(void)
{
    const char *given = getenv("PLAIT_STRESS_SECONDS");

    return given ? strtod(given, NULL) : 2;
}
