/* SPDX-License-Identifier: MIT */
/*
 * The first of several: a kitchen with two cooks, a process and a thread, and a fire alarm.
 *
 * The waiter carries out whatever is ready first, gets told when a cook goes home, and would drop everything at the alarm. No
 * dish is taken from a hatch unless it is carried out.
 *
 *     cc -o first_of first_of.c $(pkg-config --cflags --libs plait)
 *     ./first_of
 *
 * Expected:
 *
 *     20 soups and 30 steaks carried out, both cooks have gone home
 */
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>

enum { SOUPS = 20, STEAKS = 30, HATCH = 3 };

static plait_event_t fire_alarm;
static plait_queue_t *steaks; /* private: the cook is a thread */

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, plait_strerror(err));
        exit(1);
    }
}

static void cook(plait_queue_t *hatch, int dishes)
{
    for (int dish = 0; dish < dishes; dish++)
        must(plait_queue_put(hatch, &dish, plait_after(60)), "the hatch");
}

static int cook_soups(const void *arg, size_t arg_size)
{
    plait_queue_t *soups;

    if (arg_size != sizeof(plait_ref_t))
        return 1;
    must(plait_queue_open(&soups, *(const plait_ref_t *)arg), "the way to the hatch");
    cook(soups, SOUPS);
    return plait_queue_free(soups);
}

static void *cook_steaks(void *unused)
{
    cook(steaks, STEAKS);
    return unused;
}

int main(int argc, char **argv)
{
    struct plait_queue_opts hatch = { .item_size = sizeof(int), .maxsize = HATCH };
    plait_arena_t *arena;
    plait_queue_t *soups;
    plait_process_t *soup_cook;
    plait_thread_t *steak_cook;
    plait_ref_t ref;

    must(plait_init(&argc, &argv), "plait_init");
    must(plait_arena_new(&arena, &(struct plait_arena_opts){ 0 }), "plait_arena_new");
    must(plait_queue_new(&steaks, &hatch), "plait_queue_new");
    hatch.arena = arena;
    must(plait_queue_new(&soups, &hatch), "plait_queue_new");
    must(plait_queue_ref(soups, &ref), "plait_queue_ref");
    must(plait_process_new(&soup_cook, &(struct plait_process_opts){ .target = cook_soups, .arg = &ref,
                                                                    .arg_size = sizeof ref, .daemon = true }),
         "plait_process_new");
    must(plait_process_start(soup_cook), "plait_process_start");
    must(plait_thread_new(&steak_cook, &(struct plait_thread_opts){ .target = cook_steaks }), "plait_thread_new");
    must(plait_thread_start(steak_cook), "plait_thread_start");

    enum { ALARM, SOUP, STEAK, SOUP_COOK, STEAK_COOK, ENTRIES };
    int dish, carried[ENTRIES] = { 0 };
    struct plait_wait_entry entry[ENTRIES] = {
        plait_any_first(plait_any_event_wait(&fire_alarm)),
        plait_any_queue_get(soups, &dish),
        plait_any_queue_get(steaks, &dish),
        plait_any_process_join(soup_cook),
        plait_any_thread_join(steak_cook, NULL),
    };
    size_t which;

    while (carried[SOUP] < SOUPS || carried[STEAK] < STEAKS || !carried[SOUP_COOK] || !carried[STEAK_COOK]) {
        must(plait_wait_any(entry, ENTRIES, &which, plait_after(60)), "the kitchen");
        carried[which]++;
        if (which == ALARM)
            return 1;
        if (which >= SOUP_COOK) /* once is enough: from now on that place waits for the alarm, too */
            entry[which] = entry[ALARM];
    }
    printf("%d soups and %d steaks carried out, both cooks have gone home\n", carried[SOUP], carried[STEAK]);
    plait_process_free(soup_cook);
    plait_thread_free(steak_cook);
    plait_queue_free(soups);
    plait_queue_free(steaks);
    return plait_arena_free(arena);
}
