/* SPDX-License-Identifier: MIT */
/*
 * Shared counter: processes count under a lock, and the first is killed while it holds the lock.
 *
 * The counter keeps two numbers that must be equal. The victim changes one of them and is killed
 * before it changes the other. The next to acquire the lock gets EOWNERDEAD and holds it: it
 * repairs the numbers, says so, and all goes on.
 *
 *     cc -o shared_counter shared_counter.c $(pkg-config --cflags --libs plait)
 *     ./shared_counter
 *
 * Expected, exactly:
 *
 *     the holder was killed by signal 9
 *     the lock says that its owner died: up is 1, down is 0
 *     repaired
 *     four processes counted to 4000
 */
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>

struct counter {
    plait_lock_t lock;
    long up, down;          /* guarded by lock; up == -down */
    plait_event_t half_way; /* set by the victim */
};

enum { PROCESSES = 4, TIMES = 1000 };

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, plait_strerror(err));
        exit(1);
    }
}

static struct counter *open_counter(const void *arg)
{
    void *address;

    must(plait_ref_open(*(const plait_ref_t *)arg, &address), "plait_ref_open");
    return address;
}

/* Acquire the lock and change one of the two numbers; never the other. */
static int victim(const void *arg, size_t arg_size)
{
    struct counter *counter = open_counter(arg);

    (void)arg_size;
    must(plait_lock_acquire(&counter->lock, PLAIT_FOREVER), "plait_lock_acquire");
    counter->up++;
    plait_event_set(&counter->half_way);
    return plait_sleep(60);
}

static int count(const void *arg, size_t arg_size)
{
    struct counter *counter = open_counter(arg);

    (void)arg_size;
    for (int i = 0; i < TIMES; i++) {
        must(plait_lock_acquire(&counter->lock, plait_after(60)), "plait_lock_acquire");
        counter->up++;
        counter->down--;
        must(plait_lock_release(&counter->lock), "plait_lock_release");
    }
    return 0;
}

static plait_process_t *start(int (*target)(const void *, size_t), const plait_ref_t *ref)
{
    plait_process_t *process;

    must(plait_process_new(&process, &(struct plait_process_opts){ .target = target,
                                                                   .arg = ref,
                                                                   .arg_size = sizeof *ref,
                                                                   .daemon = true }),
         "plait_process_new");
    must(plait_process_start(process), "plait_process_start");
    return process;
}

static int finish(plait_process_t *process)
{
    int code;

    must(plait_process_join(process, plait_after(60)), "plait_process_join");
    must(plait_process_exitcode(process, &code), "plait_process_exitcode");
    plait_process_free(process);
    return code;
}

static void kill_the_holder(struct counter *counter, const plait_ref_t *ref)
{
    plait_process_t *process = start(victim, ref);

    must(plait_event_wait(&counter->half_way, plait_after(60)), "plait_event_wait");
    must(plait_process_kill(process), "plait_process_kill");
    printf("the holder was killed by signal %d\n", -finish(process));
}

static void repair(struct counter *counter)
{
    int err = plait_lock_acquire(&counter->lock, plait_after(60));

    if (err != EOWNERDEAD) {
        fprintf(stderr, "the death was not told: %s\n", plait_strerror(err));
        exit(1);
    }
    printf("the lock says that its owner died: up is %ld, down is %ld\n", counter->up,
           counter->down);
    counter->up = -counter->down; /* down is changed last, so it tells what was finished */
    must(plait_lock_consistent(&counter->lock), "plait_lock_consistent");
    must(plait_lock_release(&counter->lock), "plait_lock_release");
    puts("repaired");
}

int main(int argc, char **argv)
{
    plait_process_t *process[PROCESSES];
    plait_arena_t *arena;
    struct counter *counter;
    plait_ref_t ref;
    void *memory;

    must(plait_init(&argc, &argv), "plait_init");
    must(plait_arena_new(&arena, &(struct plait_arena_opts){ 0 }), "plait_arena_new");
    must(plait_arena_alloc(arena, sizeof *counter, &memory), "plait_arena_alloc");
    counter = memory;
    must(plait_lock_init(&counter->lock, PLAIT_SHARED), "plait_lock_init");
    must(plait_event_init(&counter->half_way, PLAIT_SHARED), "plait_event_init");
    must(plait_ref_of(counter, &ref), "plait_ref_of");

    kill_the_holder(counter, &ref);
    repair(counter);

    for (int i = 0; i < PROCESSES; i++)
        process[i] = start(count, &ref);
    for (int i = 0; i < PROCESSES; i++)
        if (finish(process[i]) != 0)
            return 1;
    printf("four processes counted to %ld\n", counter->up);
    return plait_arena_free(arena);
}
