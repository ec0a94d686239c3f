/* SPDX-License-Identifier: MIT */
/*
 * Dicts of 1,024 and 65,536 keys of 8 bytes with values of 8: get, set and delete by one thread, get by several, against a chained table of the heap, and
 * GLib's, each under a pthread_rwlock; shared ones between processes, and against Python's Manager.dict.
 */
#include <plait.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"
#include "python.h"

enum { FEW = 1024, RESIDENT = 65536 }; /* keys; both powers of two */

/* Keys in an order that no cache knows. */
BENCH_INLINE uint64_t key_at(uint64_t i, unsigned keys) { return i * 40503 % keys; }

/* ---- Ours ---- */

static plait_dict_t *make(plait_arena_t *arena, unsigned keys)
{
    plait_dict_t *dict;

    if (plait_dict_new(&dict, &(struct plait_dict_opts){ .arena = arena }) != 0)
        bench_die("plait_dict_new");
    for (uint64_t i = 0; i < keys; i++)
        if (plait_dict_set(dict, &i, sizeof i, &i, sizeof i) != 0)
            bench_die("plait_dict_set");
    return dict;
}

static plait_arena_t *make_arena(void)
{
    plait_arena_t *arena;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 64u << 20 }) != 0)
        bench_die("plait_arena_new");
    return arena;
}

BENCH_INLINE void ours_get(void *dict, uint64_t key)
{
    uint64_t value;

    if (plait_dict_get(dict, &key, sizeof key, &value, sizeof value, NULL) != 0 || value != key)
        bench_die("a wrong value");
}

BENCH_INLINE void ours_set(void *dict, uint64_t key)
{
    if (plait_dict_set(dict, &key, sizeof key, &key, sizeof key) != 0)
        bench_die("set");
}

BENCH_INLINE void ours_delete_and_set(void *dict, uint64_t key)
{
    if (plait_dict_delete(dict, &key, sizeof key) != 0)
        bench_die("delete");
    ours_set(dict, key);
}

BENCH_INLINE void ours_add(void *dict, uint64_t key)
{
    if (plait_dict_add(dict, &key, sizeof key, 1, NULL) != 0)
        bench_die("add");
}

/* ---- A plain table: chains, an entry each from malloc, twice as many buckets as keys ---- */

struct entry {
    struct entry *next;
    size_t key_size, value_size;
    char bytes[]; /* key, then value */
};

struct table {
    pthread_rwlock_t lock;
    struct entry *buckets[2 * RESIDENT];
};

BENCH_INLINE uint64_t hash_of(const void *key, size_t size)
{
    uint64_t word, hash = size;

    for (; size >= sizeof word; size -= sizeof word, key = (const char *)key + sizeof word) {
        memcpy(&word, key, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash * 0x9e3779b97f4a7c15u >> 32;
}

static struct entry **find(struct table *t, const void *key, size_t size)
{
    struct entry **link = &t->buckets[hash_of(key, size) % (2 * RESIDENT)];

    while (*link && ((*link)->key_size != size || memcmp((*link)->bytes, key, size) != 0))
        link = &(*link)->next;
    return link;
}

static void table_put(struct table *t, const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct entry **link = find(t, key, key_size), *old = *link;
    struct entry *e = malloc(sizeof *e + key_size + value_size);

    if (!e)
        bench_die("malloc");
    e->next = old ? old->next : NULL;
    e->key_size = key_size;
    e->value_size = value_size;
    memcpy(e->bytes, key, key_size);
    memcpy(e->bytes + key_size, value, value_size);
    *link = e;
    free(old);
}

static void table_remove(struct table *t, const void *key, size_t key_size)
{
    struct entry **link = find(t, key, key_size), *old = *link;

    if (old) {
        *link = old->next;
        free(old);
    }
}

BENCH_INLINE void table_get(void *table, uint64_t key)
{
    struct table *t = table;
    struct entry *e;
    uint64_t value = ~key;

    pthread_rwlock_rdlock(&t->lock);
    e = *find(t, &key, sizeof key);
    if (e && e->value_size <= sizeof value)
        memcpy(&value, e->bytes + e->key_size, e->value_size);
    pthread_rwlock_unlock(&t->lock);
    if (value != key)
        bench_die("a wrong value");
}

BENCH_INLINE void table_set(void *table, uint64_t key)
{
    struct table *t = table;

    pthread_rwlock_wrlock(&t->lock);
    table_put(t, &key, sizeof key, &key, sizeof key);
    pthread_rwlock_unlock(&t->lock);
}

BENCH_INLINE void table_delete_and_set(void *table, uint64_t key)
{
    struct table *t = table;

    pthread_rwlock_wrlock(&t->lock);
    table_remove(t, &key, sizeof key);
    pthread_rwlock_unlock(&t->lock);
    table_set(table, key);
}

static struct table *make_table(unsigned keys)
{
    struct table *t = calloc(1, sizeof *t);

    if (!t || pthread_rwlock_init(&t->lock, NULL))
        bench_die("a table");
    for (uint64_t i = 0; i < keys; i++)
        table_put(t, &i, sizeof i, &i, sizeof i);
    return t;
}

static void drop_table(struct table *t, unsigned keys)
{
    for (uint64_t i = 0; i < keys; i++)
        table_remove(t, &i, sizeof i);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

/* ---- Rounds ---- */

struct work {
    void *table;
    uint64_t ops;
    unsigned keys;
};

#define MEMBER(name, call) \
    static void name##_member(unsigned index, void *arg) \
    { \
        struct work *work = arg; \
        for (uint64_t i = 0; i < work->ops; i++) \
            call(work->table, key_at(i + index * 1000, work->keys)); \
    }

MEMBER(ours_get, ours_get)
MEMBER(ours_set, ours_set)
MEMBER(ours_change, ours_delete_and_set)
MEMBER(ours_add, ours_add)
MEMBER(table_get, table_get)
MEMBER(table_set, table_set)
MEMBER(table_change, table_delete_and_set)

typedef double bench_team(unsigned count, bench_member *member, void *arg, uint32_t *stop);

/* The time of an operation of all together. */
static double run(const struct bench_load *load, void *table, bench_member *member, bench_team *team)
{
    struct work work = { table, load->ops / load->width + 1, load->size };

    return team(load->width, member, &work, NULL) / (double)(work.ops * load->width);
}

static double ours(const struct bench_load *load, bool shared, bench_member *member, bench_team *team)
{
    plait_arena_t *arena = shared ? make_arena() : NULL;
    plait_dict_t *dict = make(arena, load->size);
    double seconds = run(load, dict, member, team);

    plait_dict_destroy(dict);
    if (arena)
        plait_arena_free(arena);
    return seconds;
}

static double theirs(const struct bench_load *load, bench_member *member)
{
    struct table *table = make_table(load->size);
    double seconds = run(load, table, member, bench_threads);

    drop_table(table, load->size);
    return seconds;
}

static double private_get(const struct bench_load *load) { return ours(load, false, ours_get_member, bench_threads); }
static double private_set(const struct bench_load *load) { return ours(load, false, ours_set_member, bench_threads); }
static double private_change(const struct bench_load *load) { return ours(load, false, ours_change_member, bench_threads); }
static double shared_get(const struct bench_load *load) { return ours(load, true, ours_get_member, bench_threads); }
static double shared_set(const struct bench_load *load) { return ours(load, true, ours_set_member, bench_threads); }
static double shared_change(const struct bench_load *load) { return ours(load, true, ours_change_member, bench_threads); }
static double processes_get(const struct bench_load *load) { return ours(load, true, ours_get_member, bench_processes); }
static double processes_set(const struct bench_load *load) { return ours(load, true, ours_set_member, bench_processes); }
static double processes_add(const struct bench_load *load) { return ours(load, true, ours_add_member, bench_processes); }
static double plain_get(const struct bench_load *load) { return theirs(load, table_get_member); }
static double plain_set(const struct bench_load *load) { return theirs(load, table_set_member); }
static double plain_change(const struct bench_load *load) { return theirs(load, table_change_member); }
static double python_get(const struct bench_load *load) { return bench_python("manager-dict-get", load, 2000); }
static double python_set(const struct bench_load *load) { return bench_python("manager-dict-set", load, 2000); }
static double python_add(const struct bench_load *load) { return bench_python("manager-dict-add", load, 2000); }

#define BOTH(name, threads, keys, private_one, shared_one, plain, glib) \
    { "dict." name ".private", BENCH_NS, { .width = threads, .size = keys }, \
      { { "plait", private_one }, { "chains_pthread_rwlock", plain }, { "ghashtable_pthread_rwlock", glib } }, 0 }, \
    { "dict." name ".shared", BENCH_NS, { .width = threads, .size = keys }, \
      { { "plait", shared_one }, { "chains_pthread_rwlock", plain }, { "ghashtable_pthread_rwlock", glib } }, 0 }

#define PROCESSES(name, processes, one, python) \
    { "dict." name ".processes", BENCH_NS, { .width = processes, .size = FEW }, \
      { { "plait", one }, { "python_manager_dict", python } }, 0 }

const struct bench_metric bench_dicts[] = {
    BOTH("get.1t", 1, FEW, private_get, shared_get, plain_get, glib_dict_get),
    BOTH("get.2t", 2, FEW, private_get, shared_get, plain_get, glib_dict_get),
    BOTH("get.4t", 4, FEW, private_get, shared_get, plain_get, glib_dict_get),
    BOTH("get_of_many.1t", 1, RESIDENT, private_get, shared_get, plain_get, glib_dict_get),
    BOTH("get_of_many.2t", 2, RESIDENT, private_get, shared_get, plain_get, glib_dict_get),
    BOTH("set.1t", 1, FEW, private_set, shared_set, plain_set, glib_dict_set),
    BOTH("set.2t", 2, FEW, private_set, shared_set, plain_set, glib_dict_set),
    BOTH("delete_and_set.1t", 1, FEW, private_change, shared_change, plain_change, NULL),
    PROCESSES("get.2p", 2, processes_get, python_get),
    PROCESSES("set.1p", 1, processes_set, python_set),
    PROCESSES("set.2p", 2, processes_set, python_set),
    PROCESSES("add.2p", 2, processes_add, python_add),
    { 0 },
};
