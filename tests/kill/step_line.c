/* SPDX-License-Identifier: MIT */
/*
 * Killed at every instruction: the line of a pool on processes. The test is the supervisor, with which all is well again as soon as it has
 * buried the dead: so helpers look for nothing by themselves meanwhile, and sleep for ever if a wake is lost.
 */
#include "kill/world.h"

#include <errno.h>
#include <sched.h>

#include "base/atomic.h"
#include "exec/pool_line.h"
#include "wait/waiting.h"

enum { RING = 512, MANY = RING + 20, ENTRIES_MAX = RING + 32, CHILD = 0, HELPER = 1, SECOND = 2 };

#define SHORT 0.15

/* In the arena. Entries are numbered from 1, in the order in which they were put. */
static struct scene {
    struct plait__line line;
    uint64_t taking[3];             /* slots */
    uint32_t claims[ENTRIES_MAX];   /* atomic: 1: whoever got it has begun with it */
    uint32_t committed;             /* atomic: how many the test and the waker have put */
    uint32_t has_told;              /* atomic: the child has told of the end of its task */
    uint32_t is_over;               /* atomic: for a taker beside the child */
} *scene;

static struct plait__line_end end; /* a child's is a copy */
static uint64_t next;              /* the number that is put next; a child's is a copy */
static uint64_t second_entries;    /* of those that the dead may have had in hand */

/* ---- Sleepers that do not look by themselves ---- */

static bool sleeps_for_ever;

plait_time_t __real_plait__slice_begin(plait_time_t *slice, plait_time_t deadline);
plait_time_t __wrap_plait__slice_begin(plait_time_t *slice, plait_time_t deadline);

plait_time_t __wrap_plait__slice_begin(plait_time_t *slice, plait_time_t deadline)
{
    return sleeps_for_ever ? deadline : __real_plait__slice_begin(slice, deadline);
}

/* ---- The line ---- */

static void open_line(bool by_priority)
{
    remember_use();
    if (plait_arena_alloc(arena, sizeof *scene, (void **)&scene))
        abort();
    queue = NULL;
    if (by_priority && plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = sizeof(uint64_t), .arena = arena,
                                                                           .kind = PLAIT_PRIORITY }))
        abort();
    end = (struct plait__line_end){ .base = arena->base, .line = &scene->line, .by_priority = queue };
    next = 1;
    second_entries = 0;
    if (plait__line_make(&end))
        abort();
}

static void put(int count)
{
    for (; count; count--) {
        if (plait__line_put(&end, next++, 0))
            abort();
        store_relaxed(&scene->committed, (uint32_t)next - 1);
    }
}

static void empty_line(void) { open_line(false); }
static void line_of_three(void) { empty_line(); put(3); }
static void line_of_many(void) { empty_line(); put(30); }
static void nearly_full_ring(void) { empty_line(); put(RING - 2); }
static void empty_urgent_line(void) { open_line(true); }
static void urgent_line(void) { empty_urgent_line(); put(3); }

/* Begin with it, unless somebody has: an entry may be there twice. */
static bool claim(uint64_t entry)
{
    uint32_t nobody = 0;

    return entry && entry < ENTRIES_MAX && cas_acqrel(&scene->claims[entry], &nobody, 1);
}

/* As a worker: until it has one that nobody has begun with. */
static int get(uint32_t number, plait_time_t deadline)
{
    uint64_t entry;
    int err;

    do
        err = plait__line_get(&end, number, &scene->taking[number], &entry, deadline);
    while (err == 0 && !claim(entry));
    return err;
}

/* ---- What the child does ---- */

/* It has claimed a task, and nothing else is there to take. */
static void be_the_searcher(void)
{
    take_part();
    plait__line_expect(&end, CHILD);
}

static void get_one(void) { step_page->out = get(CHILD, PLAIT_FOREVER); }
static void get_in_vain(void) { step_page->out = get(CHILD, plait_after(MOMENT)); }
static void find_none(void) { step_page->out = get(CHILD, PLAIT_NOW); }

/* Through with a task, which somebody has waited for: then the next one comes. */
static void end_task(void)
{
    plait__line_expect(&end, CHILD);
    store_release(&scene->has_told, 1);
    step_page->out = get(CHILD, PLAIT_FOREVER);
}

/* Those that were put while it was the searcher have woken nobody. */
static void put_and_leave(void)
{
    put(2);
    plait__line_forget(&end, CHILD);
    step_page->out = 0;
}

static void put_and_search(void)
{
    put(2);
    step_page->out = get(CHILD, PLAIT_FOREVER);
}

static void put_one(void) { put(1); step_page->out = 0; }

/* ---- Others ---- */

/* Who finds one when its time is up was not woken. */
static int sleeper(uint32_t number, double seconds)
{
    plait_time_t until = plait_after(seconds);

    sleeps_for_ever = true;
    return get(number, until) || plait_now() >= until;
}

static int first_sleeper(void *unused) { return sleeper(HELPER, PATIENCE); }
static int second_sleeper(void *unused) { return sleeper(SECOND, PATIENCE); }
static int short_sleeper(void *unused) { return sleeper(HELPER, SHORT); }

/* When the child has told that it is through; or is dead, and tells nothing. */
static int put_when_told(void *unused)
{
    while (!load_acquire(&scene->has_told) && !load_acquire(&scene->is_over))
        plait_sleep(0.0002);
    if (load_acquire(&scene->has_told))
        put(2);
    return 0;
}

/* Two are put when two sleep, of whom the child was first. */
static int put_for_two(void *unused)
{
    pid_t second = sleep_behind_child(second_sleeper);

    put(2);
    return child_end_by(second, PATIENCE);
}

/* Takes all the time, as fast as it can. */
static int take_beside(void *unused)
{
    uint64_t entry, last = 0;

    while (!load_acquire(&scene->is_over)) {
        int err = plait__line_get(&end, HELPER, &scene->taking[HELPER], &entry, PLAIT_NOW);

        if (err == ETIMEDOUT) {
            sched_yield();
            continue;
        }
        if (err || entry <= last || !claim(entry))
            return 1;
        last = entry;
    }
    return 0;
}

/* Beyond the ring's end, so that it grows while the child reads in it. */
static int put_beside(void *unused)
{
    while (next < MANY) {
        put(1);
        sched_yield();
    }
    return 0;
}

/* ---- What must be so in the end ---- */

/* How many were put, but for second entries. By priority nobody puts who may be killed. */
static uint64_t known(void)
{
    return queue ? load_acquire(&scene->committed) : load64_acquire(&scene->line.tail) - second_entries;
}

/* As the supervisor does with what a dead worker may have had in hand (pool_supervisor.c). */
static void put_again(uint64_t taking, uint64_t last)
{
    uint64_t entry;

    for (entry = queue ? 1 : taking; entry && entry <= (queue ? last : taking); entry++) {
        if (load_acquire(&scene->claims[entry]))
            continue;
        if (plait__line_put(&end, entry, 0))
            abort();
        second_entries++;
    }
}

static void bury_child(uint64_t last)
{
    put_again(scene->taking[CHILD], last);
    plait__line_bury(&end, CHILD);
}

static const char *close_line(void)
{
    if (queue)
        plait_queue_destroy(queue);
    else
        plait__arena_dealloc_offset(end.base, scene->line.cells & ~(uint64_t)63);
    plait_arena_dealloc(arena, scene);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* Who dies is buried, nobody sleeps. */
static const char *each_was_taken_once(uint64_t last)
{
    uint64_t entry, taking;
    int err;

    while ((err = plait__line_get(&end, CHILD, &taking, &entry, PLAIT_NOW)) == 0)
        claim(entry);
    if (err != ETIMEDOUT || !plait__line_is_empty(&end))
        return "the line cannot be emptied";
    for (entry = 1; entry <= last; entry++)
        if (!scene->claims[entry])
            return "an entry is lost";
    return scene->line.searcher ? "somebody's name has stayed" : NULL;
}

static const char *all_is_accounted_for(bool done)
{
    uint64_t last = known();
    const char *wrong;

    if (done && step_page->out && step_page->out != ETIMEDOUT)
        return "the child got an error";
    bury_child(last);
    wrong = each_was_taken_once(last);
    return wrong ? wrong : close_line();
}

static const char *got_one(bool done)
{
    return done && step_page->out ? "the child has got none" : all_is_accounted_for(done);
}

static const char *waker_ends_well(bool done)
{
    store_release(&scene->is_over, 1);
    return waker_end_by(PATIENCE) ? "who came beside it got what was not next" : all_is_accounted_for(done);
}

/* ---- With a sleeper ---- */

static void put_one_more(void)
{
    next = known() + 1;
    put(1);
}

/* Put before the burial: as long as the dead one has its name there, that wakes nobody. */
static const char *sleeper_gets_one(bool done)
{
    store_release(&scene->is_over, 1);
    if (waker_end_by(PATIENCE))
        return "the putter has not ended";
    put_one_more();
    bury_child(known());
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : all_is_accounted_for(done);
}

static const char *sleeper_gets_a_later_one(bool done)
{
    bury_child(known());
    put_one_more();
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : all_is_accounted_for(done);
}

/* The child has got one, or goes, and had to wake another for the rest. */
static const char *rest_goes_to_sleeper(bool done)
{
    if (!done)
        return sleeper_gets_one(done);
    return helper_end_by(PATIENCE) || waker_end_by(PATIENCE) ? "nobody was woken for the rest" : all_is_accounted_for(done);
}

/* Both slept, and two were put for them. */
static const char *both_get_one(bool done)
{
    plait_time_t until = plait_after(PATIENCE);

    while (known() < 2 && plait_now() < until)
        plait_sleep(0.0002);
    if (!done)
        bury_child(known());
    return waker_end_by(2 * PATIENCE) ? "the second sleeper was not woken" : all_is_accounted_for(done);
}

static const char *without_burial(bool done)
{
    put_one_more();
    return helper_end_by(PATIENCE) ? "as expected" : all_is_accounted_for(done);
}

/* ---- Who puts is killed ---- */

/*
 * The whole pool goes with the program. Until they notice, its workers go on: they get what is there, and nothing else. So each
 * time in another arena.
 */
static void ring_to_put(int entries, int taken)
{
    uint64_t entry, taking;

    if (drop_world() || make_world())
        abort();
    empty_line();
    put(entries);
    while (taken--)
        if (plait__line_get(&end, SECOND, &taking, &entry, PLAIT_NOW) || !claim(entry))
            abort();
}

static void ring_with_room(void) { ring_to_put(3, 1); }
static void ring_at_its_end(void) { ring_to_put(RING, 1); }
static void full_ring(void) { ring_to_put(RING, 0); }

static const char *line_is_whole(bool done)
{
    uint64_t last = known();
    const char *wrong;

    store_release(&scene->is_over, 1);
    if (waker_end_by(PATIENCE))
        return "who took beside it got what was not next";
    if (last != next && (done || last != next - 1))
        return "the entry that was put is lost, or more than that";
    wrong = each_was_taken_once(last);
    return wrong ? wrong : checked();
}

/* ---- All of them ---- */

#define ALONE(what, prepared, first, operation, verified) \
    { .name = "line " what, .prepare = prepared, .before = first, .operate = operation, .verify = verified }

static const struct step_op ops[] = {
    ALONE("get", line_of_three, take_part, get_one, got_one),
    ALONE("get, by priority", urgent_line, take_part, get_one, got_one),
    ALONE("get, none is there", empty_line, take_part, find_none, all_is_accounted_for),
    ALONE("put, and get as the searcher", empty_line, be_the_searcher, put_and_search, got_one),
    { .name = "line get, beside a taker", .prepare = line_of_many, .before = take_part, .operate = find_none, .waker = take_beside,
      .verify = waker_ends_well },
    { .name = "line get, beside a putter whose ring grows", .prepare = nearly_full_ring, .before = take_part, .operate = get_one,
      .waker = put_beside, .verify = waker_ends_well },
    { .name = "line get, in vain, beside a sleeper", .prepare = empty_line, .before = take_part, .operate = get_in_vain,
      .helper = first_sleeper, .verify = sleeper_gets_one },
    { .name = "line get, in vain, beside a sleeper, put later", .prepare = empty_line, .before = take_part, .operate = get_in_vain,
      .helper = first_sleeper, .verify = sleeper_gets_a_later_one },
    { .name = "line get, in vain, by priority, beside a sleeper", .prepare = empty_urgent_line, .before = take_part,
      .operate = get_in_vain, .helper = first_sleeper, .verify = sleeper_gets_one },
    { .name = "line get, as the searcher, beside a sleeper", .prepare = empty_line, .before = be_the_searcher,
      .operate = put_and_search, .helper = first_sleeper, .verify = rest_goes_to_sleeper },
    { .name = "line end of a task and get, beside a sleeper", .prepare = empty_line, .before = take_part, .operate = end_task,
      .helper = first_sleeper, .waker = put_when_told, .verify = rest_goes_to_sleeper },
    { .name = "line end of a task and get, by priority, beside a sleeper", .prepare = empty_urgent_line, .before = take_part,
      .operate = end_task, .helper = first_sleeper, .waker = put_when_told, .verify = rest_goes_to_sleeper },
    { .name = "line forget, beside a sleeper", .prepare = empty_line, .before = be_the_searcher, .operate = put_and_leave,
      .helper = first_sleeper, .verify = rest_goes_to_sleeper },
    { .name = "line get, as the one woken, before a sleeper", .prepare = empty_line, .before = take_part, .operate = get_one,
      .waker = put_for_two, .verify = both_get_one },
    { .name = "line get, beside a sleeper, and not buried", .prepare = empty_line, .before = be_the_searcher, .operate = put_one,
      .helper = short_sleeper, .verify = without_burial, .hangs = true },
    ALONE("put", ring_with_room, take_part, put_one, line_is_whole),
    ALONE("put, the ring begins again", ring_at_its_end, take_part, put_one, line_is_whole),
    ALONE("put, the ring grows", full_ring, take_part, put_one, line_is_whole),
    { .name = "line put, the ring grows, beside a taker", .prepare = full_ring, .before = take_part, .operate = put_one,
      .waker = take_beside, .verify = line_is_whole },
};

const struct step_table step_line = { ops, sizeof ops / sizeof ops[0] };
