/* SPDX-License-Identifier: MIT */
/* Teams: threads or processes that start together and are timed from the first start to the last end. */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TEAM_MAX = 80 };

struct team {
    pthread_barrier_t gate;
    bench_member *member;
    void *arg;
    double start[TEAM_MAX], end[TEAM_MAX]; /* each written by its member */
};

struct seat {
    struct team *team;
    unsigned index;
};

double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void *bench_share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        bench_die("mmap");
    return memory;
}

void bench_unshare(void *memory, size_t size)
{
    munmap(memory, size);
}

static struct team *gather(unsigned count, bench_member *member, void *arg)
{
    struct team *team = bench_share(sizeof *team);
    pthread_barrierattr_t attr;

    if (count > TEAM_MAX)
        bench_die("too large a team");
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&team->gate, &attr, count + 1);
    pthread_barrierattr_destroy(&attr);
    team->member = member;
    team->arg = arg;
    return team;
}

static double dismiss(struct team *team, unsigned count)
{
    double first = team->start[0];
    double last = team->end[0];

    for (unsigned i = 1; i < count; i++) {
        if (team->start[i] < first)
            first = team->start[i];
        if (team->end[i] > last)
            last = team->end[i];
    }
    pthread_barrier_destroy(&team->gate);
    bench_unshare(team, sizeof *team);
    return last - first;
}

static void play(struct team *team, unsigned index)
{
    pthread_barrier_wait(&team->gate);
    team->start[index] = bench_now();
    team->member(index, team->arg);
    team->end[index] = bench_now();
}

static void stop_in_time(uint32_t *stop)
{
    struct timespec round = { 0, (long)(BENCH_ROUND * 1e9) };

    if (!stop)
        return;
    nanosleep(&round, NULL);
    __atomic_store_n(stop, 1, __ATOMIC_RELAXED);
}

static void *play_thread(void *arg)
{
    struct seat *seat = arg;

    play(seat->team, seat->index);
    return NULL;
}

double bench_threads(unsigned count, bench_member *member, void *arg, uint32_t *stop)
{
    struct team *team = gather(count, member, arg);
    struct seat seats[TEAM_MAX];
    pthread_t threads[TEAM_MAX];

    for (unsigned i = 0; i < count; i++) {
        seats[i] = (struct seat){ team, i };
        if (pthread_create(&threads[i], NULL, play_thread, &seats[i]) != 0)
            bench_die("pthread_create");
    }
    pthread_barrier_wait(&team->gate);
    stop_in_time(stop);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return dismiss(team, count);
}

double bench_processes(unsigned count, bench_member *member, void *arg, uint32_t *stop)
{
    struct team *team = gather(count, member, arg);
    pid_t children[TEAM_MAX];

    for (unsigned i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] < 0)
            bench_die("fork");
        if (children[i] == 0) {
            play(team, i);
            _exit(0);
        }
    }
    pthread_barrier_wait(&team->gate);
    stop_in_time(stop);
    for (unsigned i = 0; i < count; i++) {
        int status;

        if (waitpid(children[i], &status, 0) != children[i] || status != 0)
            bench_die("a process of the team failed");
    }
    return dismiss(team, count);
}
