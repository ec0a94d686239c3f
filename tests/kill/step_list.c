/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: list. */
#include "kill/world.h"

#include <errno.h>

#include "queue/list.h"

enum { MOST = 40, NEW = 99 };

/* The seeds of the items: before the child's operation, and after each of its parts. */
struct state {
    int count, seeds[MOST];
};

static plait_list_t *list;
static struct state states[4];
static int last; /* the state after the operation */

static size_t fill_item_of(int seed, char *bytes)
{
    size_t size = 1 + (size_t)seed * 13 % 150;

    memset(bytes, seed, size);
    return size;
}

static int append_seed(int seed)
{
    char bytes[151];

    return plait_list_append(list, bytes, fill_item_of(seed, bytes));
}

static void make_list(int count)
{
    used_before = used();
    last = 1;
    if (plait_list_new(&list, &(struct plait_list_opts){ .arena = arena }))
        abort();
    states[0].count = count;
    for (int i = 0; i < count; i++) {
        states[0].seeds[i] = (i * 7) % 23 + 1;
        if (append_seed(states[0].seeds[i]))
            abort();
    }
    for (int i = 1; i < 4; i++)
        states[i] = states[0];
}

static void put_in(struct state *s, int at, int seed)
{
    memmove(s->seeds + at + 1, s->seeds + at, (size_t)(s->count - at) * sizeof s->seeds[0]);
    s->seeds[at] = seed;
    s->count++;
}

static void take_out(struct state *s, int at)
{
    s->count--;
    memmove(s->seeds + at, s->seeds + at + 1, (size_t)(s->count - at) * sizeof s->seeds[0]);
}

static void some_to_append(void) { make_list(3); put_in(&states[1], 3, NEW); }
static void full_row(void) { make_list(7); put_in(&states[1], 7, NEW); }
static void some_to_insert(void) { make_list(6); put_in(&states[1], 1, NEW); }
static void full_row_to_insert(void) { make_list(7); put_in(&states[1], 1, NEW); }
static void some_to_set(void) { make_list(5); states[1].seeds[1] = NEW; }
static void some_to_delete(void) { make_list(6); take_out(&states[1], 1); }
static void some_to_read(void) { make_list(5); }
static void some_to_clear(void) { make_list(12); states[1].count = 0; }

/* With the child's delete the row shrinks. */
static void too_much_room(void)
{
    make_list(8);
    while (states[0].count > 4) {
        take_out(&states[0], states[0].count - 1);
        if (plait_list_delete(list, -1))
            abort();
    }
    states[1] = states[0];
    take_out(&states[1], 1);
}

static void some_to_extend(void)
{
    make_list(6);
    for (int i = 1; i <= 3; i++)
        for (int j = 0; j < i; j++)
            put_in(&states[i], 6 + j, NEW - j);
    last = 3;
}

static void some_to_reverse(void)
{
    make_list(6);
    for (int i = 0; i < 6; i++)
        states[1].seeds[i] = states[0].seeds[5 - i];
}

static int compare_seeds(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void some_to_sort(void)
{
    make_list(6);
    qsort(states[1].seeds, 6, sizeof(int), compare_seeds);
}

/* ---- What the child does ---- */

static void append(void) { step_page->out = append_seed(NEW); }

static void insert(void)
{
    char bytes[151];

    step_page->out = plait_list_insert(list, 1, bytes, fill_item_of(NEW, bytes));
}

static void set_one(void)
{
    char bytes[151];

    step_page->out = plait_list_set(list, 1, bytes, fill_item_of(NEW, bytes));
}

static void delete_one(void) { step_page->out = plait_list_delete(list, 1); }
static void clear_it(void) { step_page->out = plait_list_clear(list); }
static void reverse(void) { step_page->out = plait_list_reverse(list); }
static void sort(void) { step_page->out = plait_list_sort(list, NULL, NULL); }

static void pop_one(void)
{
    char bytes[151];
    size_t size;

    step_page->out = plait_list_pop(list, 1, bytes, sizeof bytes, &size);
}

static void get_one(void)
{
    char bytes[151];
    size_t size;

    step_page->out = plait_list_get(list, -1, bytes, sizeof bytes, &size);
}

static void extend(void)
{
    struct plait_list_item items[3];
    char bytes[3][151];

    for (int i = 0; i < 3; i++)
        items[i] = (struct plait_list_item){ bytes[i], fill_item_of(NEW - i, bytes[i]) };
    step_page->out = plait_list_extend(list, items, 3, NULL);
}

static int become_new(struct plait_list_change *change, void *bytes)
{
    change->new_bytes = bytes;
    change->new_size = fill_item_of(NEW, bytes);
    return 0;
}

static void modify(void)
{
    char bytes[151];

    step_page->out = plait_list_modify(list, 1, become_new, bytes);
}

static void leave_and_destroy(void) { step_page->out = plait_list_destroy(list); }

/* A writer that was killed before, in the midst of what there is to repair: its successor is the child that is killed. */
static int die_inserting(struct plait_list_change *change, void *unused)
{
    struct plait__list_body *b = list->body;
    uint64_t *places = (uint64_t *)plait__list_places(list);
    struct plait__list_entry *e;

    if (plait__memory_alloc(list->base, sizeof *e + 150, &b->fresh))
        _exit(1);
    e = plait__list_memory(list, b->fresh);
    e->size = fill_item_of(NEW, e->bytes);
    b->at = 1;
    b->after = b->count + 1;
    b->hole = 4;
    places[6] = places[5];
    places[5] = places[4];
    b->change = PLAIT__LIST_INSERT;
    return raise(SIGKILL);
}

static int die_deleting(struct plait_list_change *change, void *unused)
{
    struct plait__list_body *b = list->body;
    uint64_t *places = (uint64_t *)plait__list_places(list);

    b->gone = places[1];
    b->after = b->count - 1;
    b->hole = 3;
    places[1] = places[2];
    places[2] = places[3];
    b->change = PLAIT__LIST_DELETE;
    return raise(SIGKILL);
}

static int die_clearing(struct plait_list_change *change, void *unused)
{
    list->body->clearing = 1;
    return raise(SIGKILL);
}

static int insert_half(void *unused) { return plait_list_modify(list, 0, die_inserting, NULL); }
static int delete_half(void *unused) { return plait_list_modify(list, 0, die_deleting, NULL); }
static int clear_half(void *unused) { return plait_list_modify(list, 0, die_clearing, NULL); }

static void left_inserting(void)
{
    some_to_insert();
    states[0] = states[1];
    child_run(insert_half, NULL);
}

static void left_deleting(void)
{
    some_to_delete();
    states[0] = states[1];
    child_run(delete_half, NULL);
}

static void left_clearing(void)
{
    some_to_clear();
    states[0] = states[1];
    child_run(clear_half, NULL);
}

static void look_at_length(void) { step_page->out = plait_list_len(list) != (size_t)states[0].count; }

/* ---- What the others find ---- */

static bool is_state(const struct state *s, const struct plait_list_item *items, size_t count)
{
    char bytes[151];

    if (count != (size_t)s->count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (items[i].size != fill_item_of(s->seeds[i], bytes) || memcmp(items[i].bytes, bytes, items[i].size) != 0)
            return false;
    return true;
}

static const char *items_are_so(bool done)
{
    struct plait_list_item *items;
    bool is_one = false;
    size_t count;

    if (plait_list_items(list, &items, &count))
        return "items failed";
    for (int i = done ? last : 0; i <= last && !is_one; i++)
        is_one = is_state(&states[i], items, count);
    free(items);
    return is_one ? NULL : done ? "what had returned is not there" : "an item is lost, torn, or there twice";
}

/* All go on: grow, shrink; then nothing of the memory is lost. */
static const char *others_go_on(void)
{
    size_t count = plait_list_len(list);

    for (int i = 0; i < 20; i++)
        if (plait_list_insert(list, i % 3, "later", 5))
            return "insert failed";
    for (int i = 0; i < 20; i++)
        if (plait_list_remove(list, "later", 5))
            return "an item that came later is lost";
    if (plait_list_len(list) != count)
        return "the count is wrong later";
    if (plait_list_destroy(list))
        return "destroy failed";
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static const char *changed_or_not(bool done)
{
    const char *wrong = done && step_page->out ? "the operation failed" : items_are_so(done);

    return wrong ? wrong : others_go_on();
}

/* The first who comes writes. */
static const char *changed_or_not_to_a_writer(bool done)
{
    if (plait_list_append(list, "w", 1) || plait_list_delete(list, -1))
        return "append or delete failed";
    return changed_or_not(done);
}

static const char *arena_is_sound(bool done)
{
    if (done && used() != used_before)
        return "memory is lost, or freed twice";
    return checked();
}

/* Somebody is inside, asleep, until the child waits for it or is dead. */
static void some_among_others(void)
{
    some_to_insert();
    plait_event_clear(&world->go);
}

static int stay_at_item(const struct plait_list_item *item, void *unused)
{
    await_go();
    return 0;
}

static int stay_reading(void *unused) { return plait_list_for_each(list, stay_at_item, NULL); }

static const char *all_end_well(bool done)
{
    return others_end_well() ? changed_or_not(done) : "who was inside, or came then, hangs";
}

#define ALONE(what, prepared, operation, verified) \
    { .name = "list " what, .prepare = prepared, .before = take_part, .operate = operation, .verify = verified }

static const struct step_op ops[] = {
    ALONE("append", some_to_append, append, changed_or_not),
    ALONE("append, a writer next", some_to_append, append, changed_or_not_to_a_writer),
    ALONE("append, growing", full_row, append, changed_or_not),
    ALONE("append, growing, a writer next", full_row, append, changed_or_not_to_a_writer),
    ALONE("insert", some_to_insert, insert, changed_or_not),
    ALONE("insert, growing", full_row_to_insert, insert, changed_or_not_to_a_writer),
    ALONE("set", some_to_set, set_one, changed_or_not),
    ALONE("modify", some_to_set, modify, changed_or_not_to_a_writer),
    ALONE("delete", some_to_delete, delete_one, changed_or_not),
    ALONE("delete, shrinking", too_much_room, delete_one, changed_or_not_to_a_writer),
    ALONE("pop", some_to_delete, pop_one, changed_or_not_to_a_writer),
    ALONE("get", some_to_read, get_one, changed_or_not_to_a_writer),
    ALONE("extend", some_to_extend, extend, changed_or_not),
    ALONE("clear", some_to_clear, clear_it, changed_or_not),
    ALONE("clear, a writer next", some_to_clear, clear_it, changed_or_not_to_a_writer),
    ALONE("reverse", some_to_reverse, reverse, changed_or_not),
    ALONE("sort", some_to_sort, sort, changed_or_not),
    ALONE("len, as who finishes an insert", left_inserting, look_at_length, changed_or_not),
    ALONE("len, as who finishes a delete", left_deleting, look_at_length, changed_or_not),
    ALONE("len, as who goes on with a clear", left_clearing, look_at_length, changed_or_not),
    ALONE("destroy", some_to_clear, leave_and_destroy, arena_is_sound),
    { .name = "list insert, waiting for a reader", .prepare = some_among_others, .before = take_part, .operate = insert,
      .helper = stay_reading, .waker = let_holder_go, .verify = all_end_well },
};

const struct step_table step_list = { ops, sizeof ops / sizeof ops[0] };
