/* SPDX-License-Identifier: MIT */
/*
 * Ticket office: a hundred processes want one of ten tickets each; the count lies in shared memory.
 *
 * Who looks at the count, goes to print the ticket, and then takes one off, sells what others have
 * sold meanwhile. The first day there is no lock, the second day there is.
 *
 *     cc -o ticket_office ticket_office.c $(pkg-config --cflags --libs plait)
 *     ./ticket_office
 *
 * Expected: more tickets sold than there are on the first day (how many differs), exactly ten on
 * the second.
 *
 *     without a lock: 10 tickets, 83 sold: oversold
 *     with a lock: 10 tickets, 10 sold: exact
 */
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>

enum { TICKETS = 10, BUYERS = 100 };

struct office {
    plait_event_t opens;
    plait_lock_t lock;
    int left; /* guarded by lock, on the second day; >= 0 */
    int sold; /* atomic */
};

/* What a buyer is told: bytes, so references and no pointers. */
struct errand {
    plait_ref_t office;
    bool with_lock;
};

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, plait_strerror(err));
        exit(1);
    }
}

static void sell(struct office *office)
{
    int left = office->left;

    if (left == 0)
        return;
    plait_sleep(0.002); /* print it */
    office->left = left - 1;
    __atomic_add_fetch(&office->sold, 1, __ATOMIC_RELAXED);
}

static int buyer(const void *arg, size_t arg_size)
{
    const struct errand *errand = arg;
    struct office *office;
    void *address;

    if (arg_size != sizeof *errand)
        return 1;
    must(plait_ref_open(errand->office, &address), "the way to the office");
    office = address;
    must(plait_event_wait(&office->opens, plait_after(60)), "the queue before the door");
    if (errand->with_lock)
        must(plait_lock_acquire(&office->lock, plait_after(60)), "the counter");
    sell(office);
    if (errand->with_lock)
        must(plait_lock_release(&office->lock), "the counter");
    return 0;
}

static void day(plait_arena_t *arena, bool with_lock)
{
    plait_process_t *process[BUYERS];
    struct errand errand = { .with_lock = with_lock };
    struct office *office;
    void *memory;
    int code;

    must(plait_arena_alloc(arena, sizeof *office, &memory), "plait_arena_alloc");
    office = memory;
    must(plait_event_init(&office->opens, PLAIT_SHARED), "plait_event_init");
    must(plait_lock_init(&office->lock, PLAIT_SHARED), "plait_lock_init");
    must(plait_ref_of(office, &errand.office), "plait_ref_of");
    office->left = TICKETS;

    for (int i = 0; i < BUYERS; i++) {
        must(plait_process_new(&process[i], &(struct plait_process_opts){ .target = buyer,
                                                                          .arg = &errand,
                                                                          .arg_size = sizeof errand,
                                                                          .daemon = true }),
             "plait_process_new");
        must(plait_process_start(process[i]), "plait_process_start");
    }
    plait_event_set(&office->opens);
    for (int i = 0; i < BUYERS; i++) {
        must(plait_process_join(process[i], plait_after(60)), "plait_process_join");
        must(plait_process_exitcode(process[i], &code), "plait_process_exitcode");
        if (code != 0)
            fprintf(stderr, "buyer %d: exit code %d\n", i, code);
        plait_process_free(process[i]);
    }
    printf("%s a lock: %d tickets, %d sold: %s\n", with_lock ? "with" : "without", TICKETS,
           office->sold, office->sold > TICKETS ? "oversold" : "exact");
}

int main(int argc, char **argv)
{
    plait_arena_t *arena;

    must(plait_init(&argc, &argv), "plait_init");
    must(plait_arena_new(&arena, &(struct plait_arena_opts){ 0 }), "plait_arena_new");
    day(arena, false);
    day(arena, true);
    return plait_arena_free(arena);
}
