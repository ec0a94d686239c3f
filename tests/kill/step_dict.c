/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: dict. */
#include "kill/world.h"

#include <errno.h>

#include "arena/glance.h"
#include "queue/dict.h"

enum { KEYS = 80, NEW = 100, LONG = 120 /* a seed */, VALUE_MAX = 70000 };

/* What is there and what may be: filled by prepare, checked by verify. 0: no such key; else the seed of its value. */
static plait_dict_t *dict;
static int expected[NEW + 3], changed[NEW + 3]; /* before, and after the child's operation */
static bool by_parts;                           /* the child's operation is not one step: each key for itself */
static int keys;                                /* set by prepare, from 0 on */

static size_t fill_value(int seed, char *bytes)
{
    size_t size = seed == LONG ? VALUE_MAX : (size_t)seed * 13 % 150;

    memset(bytes, seed, size);
    return size;
}

static int set_key(int key, int seed)
{
    static char bytes[VALUE_MAX];

    return plait_dict_set(dict, &key, sizeof key, bytes, fill_value(seed, bytes));
}

static void make_dict(int count)
{
    used_before = used();
    memset(expected, 0, sizeof expected);
    by_parts = false;
    if (plait_dict_new(&dict, &(struct plait_dict_opts){ .arena = arena }))
        abort();
    for (keys = 0; keys < count; keys++) {
        expected[keys] = keys + 1;
        if (set_key(keys, keys + 1))
            abort();
    }
    memcpy(changed, expected, sizeof changed);
}

static void delete_until(int count)
{
    while (keys > count) {
        keys--;
        expected[keys] = changed[keys] = 0;
        if (plait_dict_delete(dict, &keys, sizeof keys))
            abort();
    }
}

static void some(void) { make_dict(5); changed[NEW] = 7; }
static void some_for_a_long_one(void) { make_dict(5); changed[NEW] = LONG; }
static void some_to_read(void) { make_dict(5); }
static void a_long_one_to_read(void)
{
    make_dict(5);
    expected[NEW] = changed[NEW] = LONG;
    if (set_key(NEW, LONG))
        abort();
}

static void none(void) { make_dict(0); changed[NEW] = 7; }
static void some_to_replace(void) { make_dict(5); changed[2] = 99; }
static void some_to_delete(void) { make_dict(5); changed[2] = 0; }
/* What the table does next depends on how many buckets it has, two to a key. */
static void expect_buckets(uint32_t count)
{
    if (dict->body->buckets != count)
        abort();
}

static void make_full_table(uint32_t buckets)
{
    make_dict((int)buckets / 2);
    expect_buckets(buckets);
    changed[NEW] = 7;
}

static void full_first_buckets(void) { make_full_table(PLAIT__DICT_FIRST); } /* the next lie in a first segment */
static void full_segment(void) { make_full_table(2 * PLAIT__DICT_FIRST); }
static void full_buckets(void) { make_full_table(90); }

static void too_many_buckets(void)
{
    make_dict(KEYS);
    delete_until(20); /* of 160 buckets: 20 are an eighth still, 19 are not */
    expect_buckets(160);
    changed[0] = 0;
}

/* With the child's delete, to which eight buckets go, the table shrinks to half of its segment before last, and the last one goes. */
static void segment_too_many(void)
{
    make_dict(70);
    while (dict->body->buckets > 40)
        delete_until(keys - 1);
    expect_buckets(39);
    changed[0] = 0;
}

static void some_to_clear(void) { make_dict(21); memset(changed, 0, sizeof changed); }

static void some_to_update(void)
{
    make_dict(PLAIT__DICT_FIRST / 2 - 1);
    changed[NEW] = 7;
    changed[NEW + 1] = 8;
    changed[2] = 99;
    by_parts = true;
}

static void one_counter(void)
{
    make_dict(5);
    world->a = 0;
    plait_dict_add(dict, PLAIT_TEXT("counter"), 5, NULL);
}

/* ---- What the child does ---- */

static void set_new(void) { step_page->out = set_key(NEW, 7); }
static void set_long(void) { step_page->out = set_key(NEW, LONG); }
static void replace(void) { step_page->out = set_key(2, 99); }

static void delete_key(int key) { step_page->out = plait_dict_delete(dict, &key, sizeof key); }
static void delete_one(void) { delete_key(2); }
static void delete_first(void) { delete_key(0); }
static void clear_it(void) { step_page->out = plait_dict_clear(dict); }

static void pop_one(void)
{
    int key = 2;
    char value[150];
    size_t size;

    step_page->out = plait_dict_pop(dict, &key, sizeof key, value, sizeof value, &size);
}

static void get_one(void)
{
    int key = 2;
    char value[150];
    size_t size;

    step_page->out = plait_dict_get(dict, &key, sizeof key, value, sizeof value, &size);
}

/* The first look makes the child's process one that can do without the lock. */
static void take_part_and_look(void)
{
    take_part();
    get_one();
}

static void get_long(void)
{
    static char value[VALUE_MAX];
    int key = NEW;
    size_t size;

    step_page->out = plait_dict_get(dict, &key, sizeof key, value, sizeof value, &size);
}

static void update_it(void)
{
    static const int which[3] = { NEW, 2, NEW + 1 }, seeds[3] = { 7, 99, 8 };
    struct plait_dict_item items[3];
    char values[3][150];

    for (int i = 0; i < 3; i++)
        items[i] = (struct plait_dict_item){ .key = &which[i], .key_size = sizeof which[i], .value = values[i],
                                             .value_size = fill_value(seeds[i], values[i]) };
    step_page->out = plait_dict_update(dict, items, 3, NULL);
}

static void set_default(void)
{
    int key = NEW;
    char value[150];
    size_t size;

    step_page->out = plait_dict_setdefault(dict, &key, sizeof key, value, fill_value(7, value), value, sizeof value, &size);
}

static void add_to_counter(void) { step_page->out = plait_dict_add(dict, PLAIT_TEXT("counter"), 3, NULL); }

static int look_at_key(const struct plait_dict_item *item, void *count)
{
    ++*(int *)count;
    return 0;
}

static void read_all(void)
{
    int count = 0;

    step_page->out = plait_dict_for_each(dict, look_at_key, &count);
}

static void leave_and_destroy(void) { step_page->out = plait_dict_destroy(dict); }

/* A writer that was killed before: its successor, who repairs, is the child that is killed. */
static int die_within(struct plait_dict_change *change, void *arg)
{
    raise(SIGKILL);
    return 0;
}

static int modify_and_die(void *unused)
{
    return plait_dict_modify(dict, PLAIT_TEXT("x"), die_within, NULL);
}

static void left_by_a_dead_writer(void)
{
    some();
    child_run(modify_and_die, NULL);
}

static void left_to_a_reader(void)
{
    some_to_read();
    child_run(modify_and_die, NULL);
}

/* The dead one was in the midst of all that there is to repair. */
static int clear_and_die(struct plait_dict_change *change, void *arg)
{
    struct plait__dict_body *b = dict->body;
    struct plait__dict_found found;
    struct plait__dict_key key = { &(int){ 2 }, sizeof(int), 0 };

    key.hash = plait__dict_hash(dict, key.bytes, key.size);
    if (plait__dict_find(dict, &key, &found))
        _exit(1);
    b->after = b->count - 1;
    b->gone = *found.link;
    *found.link = found.entry->next; /* deleted, and not counted */
    plait__arena_alloc_into(arena->base, 100, &b->fresh);
    b->fresh = 0;
    b->clearing = 1;
    raise(SIGKILL);
    return 0;
}

static int clear_half_and_die(void *unused)
{
    return plait_dict_modify(dict, PLAIT_TEXT("x"), clear_and_die, NULL);
}

/* All is to go: nothing else can have been, whoever asks first. */
static void left_in_the_midst(void)
{
    make_dict(21);
    used_before += 128; /* the block that is lost above */
    child_run(clear_half_and_die, NULL);
    memset(expected, 0, sizeof expected);
    memset(changed, 0, sizeof changed);
}

static void look_at_length(void) { step_page->out = plait_dict_len(dict) != 0; }

/* ---- What the others find ---- */

/* The seed of the key's value; 0: there is none; -1: torn, or an error. */
static int seed_of(int key)
{
    static char bytes[VALUE_MAX + 1], whole[VALUE_MAX];
    size_t size = 0;
    int err = plait_dict_get(dict, &key, sizeof key, bytes, sizeof bytes, &size);

    if (err)
        return err == ENOENT ? 0 : -1;
    for (int i = 0; i < 2; i++) {
        int seed = i ? changed[key] : expected[key];

        if (seed && size == fill_value(seed, whole) && memcmp(bytes, whole, size) == 0)
            return seed;
    }
    return -1;
}

static const char *keys_are_so(bool done)
{
    bool before = true, after = true;
    int count = 0;

    for (int key = 0; key < NEW + 3; key++) {
        int seed = seed_of(key);

        if (seed < 0)
            return "a value is torn, or cannot be read";
        if (seed != expected[key] && seed != changed[key])
            return "a key is lost, or came from nowhere";
        before &= seed == expected[key];
        after &= seed == changed[key];
        count += seed != 0;
    }
    if (done && !after)
        return "what had returned is not there";
    if (!by_parts && !before && !after)
        return "a change is there in part";
    if (plait_dict_len(dict) != (size_t)count)
        return "the count is wrong";
    return NULL;
}

static int count_key(const struct plait_dict_item *item, void *count)
{
    ++*(size_t *)count;
    return 0;
}

/* All go on: read, walk, grow, shrink; then nothing of the memory is lost. */
static const char *others_go_on(void)
{
    size_t count = 0;

    if (plait_dict_for_each(dict, count_key, &count) || count != plait_dict_len(dict))
        return "the walk finds another number of keys";
    for (int key = 1000; key < 1060; key++)
        if (set_key(key, 3))
            return "set failed";
    for (int key = 1000; key < 1060; key++)
        if (plait_dict_delete(dict, &key, sizeof key))
            return "a key that was set later is lost";
    if (plait_dict_len(dict) != count)
        return "the count is wrong later";
    if (plait_dict_destroy(dict))
        return "destroy failed";
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static const char *changed_or_not(bool done)
{
    const char *wrong = done && step_page->out ? "the operation failed" : keys_are_so(done);

    if (!wrong && plait_dict_len(dict) > 0 && dict->body->clearing)
        wrong = "clear stopped half way";
    if (!wrong)
        wrong = others_go_on();
    return wrong;
}

/* The first who comes writes. */
static const char *changed_or_not_to_a_writer(bool done)
{
    int key = 999;

    if (set_key(key, 3) || plait_dict_delete(dict, &key, sizeof key))
        return "set or delete failed";
    return changed_or_not(done);
}

/* Who died on its way through the arena's memory holds none of its pages back. */
static const char *changed_or_not_and_no_glance(bool done)
{
    if (!plait__glances_are_over(arena->base))
        return "a dead reader still glances";
    return changed_or_not_to_a_writer(done);
}

static const char *counted_or_not(bool done)
{
    int64_t counter = 0;

    if (plait_dict_get(dict, PLAIT_TEXT("counter"), &counter, sizeof counter, NULL))
        return "the counter is lost";
    if (counter != 8 && (done || counter != 5))
        return "the counter is wrong";
    if (plait_dict_delete(dict, PLAIT_TEXT("counter")))
        return "delete failed";
    return changed_or_not(done);
}

/* Who destroys must be the last; but the arena stays sound. */
static const char *arena_is_sound(bool done)
{
    if (done && used() != used_before)
        return "memory is lost, or freed twice";
    return checked();
}

/* Somebody is inside, asleep, until the child waits for it or is dead. */
static void some_among_others(void)
{
    some();
    plait_event_clear(&world->go);
}

static void some_to_read_among_others(void)
{
    some_to_read();
    plait_event_clear(&world->go);
}

static int stay_at_key(const struct plait_dict_item *item, void *unused)
{
    await_go();
    return 0;
}

static int stay_reading(void *unused) { return plait_dict_for_each(dict, stay_at_key, NULL); }

static int stay_and_look(struct plait_dict_change *change, void *unused)
{
    await_go();
    return 0;
}

static int stay_writing(void *unused) { return plait_dict_modify(dict, PLAIT_TEXT("x"), stay_and_look, NULL); }

static const char *all_end_well(bool done)
{
    return others_end_well() ? changed_or_not(done) : "who was inside, or came then, hangs";
}

#define ALONE(what, prepared, operation, verified) \
    { .name = "dict " what, .prepare = prepared, .before = take_part, .operate = operation, .verify = verified }

static const struct step_op ops[] = {
    ALONE("set, the first", none, set_new, changed_or_not),
    ALONE("set, a new key", some, set_new, changed_or_not),
    ALONE("set, a new key, a writer next", some, set_new, changed_or_not_to_a_writer),
    ALONE("set, a long value", some_for_a_long_one, set_long, changed_or_not),
    ALONE("set, another value", some_to_replace, replace, changed_or_not),
    ALONE("set, another value, a writer next", some_to_replace, replace, changed_or_not_to_a_writer),
    ALONE("set, growing into a first segment", full_first_buckets, set_new, changed_or_not),
    ALONE("set, growing into a new segment", full_segment, set_new, changed_or_not_to_a_writer),
    ALONE("set, growing", full_buckets, set_new, changed_or_not),
    ALONE("setdefault", some, set_default, changed_or_not),
    ALONE("get", some_to_read, get_one, changed_or_not_to_a_writer),
    ALONE("get, a long value", a_long_one_to_read, get_long, changed_or_not_to_a_writer),
    { .name = "dict get, without the lock", .prepare = some_to_read, .before = take_part_and_look, .operate = get_one,
      .verify = changed_or_not_and_no_glance },
    ALONE("delete", some_to_delete, delete_one, changed_or_not),
    ALONE("delete, shrinking", too_many_buckets, delete_first, changed_or_not),
    ALONE("delete, shrinking by a segment", segment_too_many, delete_first, changed_or_not_to_a_writer),
    ALONE("pop", some_to_delete, pop_one, changed_or_not),
    ALONE("clear", some_to_clear, clear_it, changed_or_not),
    ALONE("clear, a writer next", some_to_clear, clear_it, changed_or_not_to_a_writer),
    ALONE("update", some_to_update, update_it, changed_or_not),
    ALONE("add", one_counter, add_to_counter, counted_or_not),
    ALONE("for_each", some_to_read, read_all, changed_or_not_to_a_writer),
    ALONE("set, as who repairs", left_by_a_dead_writer, set_new, changed_or_not),
    ALONE("get, as who repairs", left_to_a_reader, get_one, changed_or_not_to_a_writer),
    ALONE("len, as who goes on with a clear", left_in_the_midst, look_at_length, changed_or_not),
    ALONE("destroy", some_to_clear, leave_and_destroy, arena_is_sound),
    { .name = "dict set, waiting for a reader", .prepare = some_among_others, .before = take_part, .operate = set_new,
      .helper = stay_reading, .waker = let_holder_go, .verify = all_end_well },
    { .name = "dict set, waiting for a writer", .prepare = some_among_others, .before = take_part, .operate = set_new,
      .helper = stay_writing, .waker = let_holder_go, .verify = all_end_well },
    { .name = "dict get, waiting for a writer", .prepare = some_to_read_among_others, .before = take_part,
      .operate = get_one, .helper = stay_writing, .waker = let_holder_go, .verify = all_end_well },
};

const struct step_table step_dict = { ops, sizeof ops / sizeof ops[0] };
