/* SPDX-License-Identifier: MIT */
/* GLib: GAsyncQueue of pointers, which knows no bound; GThreadPool, exclusive; GHashTable. */
#include <string.h>

#include <glib.h>
#include <pthread.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"
#include "spread.h"

BENCH_INLINE void put(void *queue, uint64_t item) { g_async_queue_push(queue, GSIZE_TO_POINTER(item)); }
BENCH_INLINE uint64_t get(void *queue) { return GPOINTER_TO_SIZE(g_async_queue_pop(queue)); }
static void member(unsigned index, void *flow) { bench_flow_member(index, flow, put, get); }

double glib_queue(const struct bench_load *load)
{
    GAsyncQueue *queue = g_async_queue_new();
    double seconds = bench_flow_run(load, queue, member, bench_threads);

    g_async_queue_unref(queue);
    return seconds;
}

/* Larger items are a pointer's, whose memory the putter gets and the getter frees. */
BENCH_INLINE void put_sized(void *sized, uint64_t number)
{
    struct bench_sized *s = sized;

    bench_item_number(number);
    g_async_queue_push(s->queue, g_memdup2(bench_item, s->size));
}

BENCH_INLINE uint64_t get_sized(void *sized)
{
    struct bench_sized *s = sized;
    void *item = g_async_queue_pop(s->queue);

    memcpy(bench_item, item, s->size);
    g_free(item);
    return bench_number_of_item();
}

static void sized_member(unsigned index, void *flow) { bench_flow_member(index, flow, put_sized, get_sized); }

double glib_sized(const struct bench_load *load)
{
    struct bench_sized sized = bench_sized_of(load);
    double seconds;

    sized.queue = g_async_queue_new();
    seconds = bench_flow_run(load, &sized, sized_member, bench_threads);
    g_async_queue_unref(sized.queue);
    return seconds;
}

double glib_queue_pairs(const struct bench_load *load)
{
    GAsyncQueue *queue = g_async_queue_new();
    double seconds = bench_now();

    for (uint64_t i = 1; i <= load->ops; i++) {
        g_async_queue_push(queue, GSIZE_TO_POINTER(i));
        if (GPOINTER_TO_SIZE(g_async_queue_pop(queue)) != i)
            bench_die("a wrong item");
    }
    seconds = bench_now() - seconds;
    g_async_queue_unref(queue);
    return seconds / (double)load->ops;
}

/* A queue for each subscriber. What fits goes in as the pointer itself; else each gets a copy. */
struct spread {
    unsigned width;
    GAsyncQueue *queues[BENCH_SPREAD_WIDTH_MAX];
};

static void spread_put(void *way, const char *item, unsigned size)
{
    struct spread *s = way;

    for (unsigned i = 0; i < s->width; i++) {
        void *copy;

        if (size == sizeof copy)
            memcpy(&copy, item, sizeof copy);
        else
            memcpy(copy = g_malloc(size), item, size);
        g_async_queue_push(s->queues[i], copy);
    }
}

static void *spread_enter(void *way, unsigned index) { return ((struct spread *)way)->queues[index]; }

static void spread_get(void *queue, char *item, unsigned size)
{
    void *copy = g_async_queue_pop(queue);

    if (size == sizeof copy) {
        memcpy(item, &copy, sizeof copy);
        return;
    }
    memcpy(item, copy, size);
    g_free(copy);
}

static void spread_leave(void *queue) { (void)queue; }

static void spread_member(unsigned index, void *spread)
{
    bench_spread_member(index, spread, spread_put, spread_enter, spread_get, spread_leave);
}

double glib_spread(const struct bench_load *load)
{
    struct spread s = { .width = load->width };
    double seconds;

    for (unsigned i = 0; i < s.width; i++)
        s.queues[i] = g_async_queue_new();
    seconds = bench_spread_run(load, &s, spread_member, bench_threads);
    for (unsigned i = 0; i < s.width; i++)
        g_async_queue_unref(s.queues[i]);
    return seconds;
}

/* Messages of `size` bytes: a copy of each in memory of its own, as its users pass them. */
double glib_message_pairs(const struct bench_load *load)
{
    GAsyncQueue *queue = g_async_queue_new();
    char *bytes = g_malloc0(load->size);
    double seconds = bench_now();

    for (uint64_t i = 0; i < load->ops; i++) {
        gpointer copy = g_memdup2(bytes, load->size);

        g_async_queue_push(queue, copy);
        copy = g_async_queue_pop(queue);
        memcpy(bytes, copy, load->size);
        g_free(copy);
    }
    seconds = bench_now() - seconds;
    g_free(bytes);
    g_async_queue_unref(queue);
    return seconds / (double)load->ops;
}

static void nothing(gpointer data, gpointer unused) { (void)data; }

double glib_tasks(const struct bench_load *load)
{
    GThreadPool *pool = g_thread_pool_new(nothing, NULL, (gint)load->width, TRUE, NULL);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        g_thread_pool_push(pool, GINT_TO_POINTER(1), NULL);
    g_thread_pool_free(pool, FALSE, TRUE); /* waits until all is done */
    return (bench_now() - start) / (double)load->ops;
}

/* ---- GHashTable of keys and values of 8 bytes, under a pthread_rwlock ---- */

static guint hash_key(gconstpointer key) { return (guint)(*(const guint64 *)key * 0x9e3779b97f4a7c15u >> 32); }

static struct {
    GHashTable *table;
    pthread_rwlock_t lock;
    uint64_t ops;
    unsigned keys;
} dict;

static void dict_put(uint64_t key)
{
    guint64 *k = g_malloc(sizeof *k), *value = g_malloc(sizeof *value);

    *k = *value = key;
    g_hash_table_replace(dict.table, k, value);
}

static void dict_get_member(unsigned index, void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < dict.ops; i++) {
        guint64 key = (i + index * 1000) * 40503 % dict.keys, value = ~key, *found;

        pthread_rwlock_rdlock(&dict.lock);
        found = g_hash_table_lookup(dict.table, &key);
        if (found)
            value = *found;
        pthread_rwlock_unlock(&dict.lock);
        if (value != key)
            bench_die("a wrong value");
    }
}

static void dict_set_member(unsigned index, void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < dict.ops; i++) {
        pthread_rwlock_wrlock(&dict.lock);
        dict_put((i + index * 1000) * 40503 % dict.keys);
        pthread_rwlock_unlock(&dict.lock);
    }
}

static double dict_run(const struct bench_load *load, bench_member *work)
{
    double seconds;

    pthread_rwlock_init(&dict.lock, NULL);
    dict.table = g_hash_table_new_full(hash_key, g_int64_equal, g_free, g_free);
    dict.ops = load->ops / load->width + 1;
    dict.keys = load->size;
    for (uint64_t i = 0; i < dict.keys; i++)
        dict_put(i);
    seconds = bench_threads(load->width, work, NULL, NULL) / (double)(dict.ops * load->width);
    g_hash_table_destroy(dict.table);
    pthread_rwlock_destroy(&dict.lock);
    return seconds;
}

double glib_dict_get(const struct bench_load *load) { return dict_run(load, dict_get_member); }
double glib_dict_set(const struct bench_load *load) { return dict_run(load, dict_set_member); }

/* ---- GPtrArray of blocks of 8 bytes, under a pthread_mutex ---- */

static struct {
    GPtrArray *items;
    pthread_mutex_t lock;
    uint64_t ops;
} list;

static void list_append_member(unsigned index, void *unused)
{
    (void)index, (void)unused;
    for (uint64_t i = 0; i < list.ops; i++) {
        guint64 *item = g_malloc(sizeof *item);

        *item = i;
        pthread_mutex_lock(&list.lock);
        g_ptr_array_add(list.items, item);
        pthread_mutex_unlock(&list.lock);
    }
}

static void list_get_member(unsigned index, void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < list.ops; i++) {
        uint64_t at = (i + index * 1000) * 40503 % list.items->len, value;

        pthread_mutex_lock(&list.lock);
        value = *(guint64 *)g_ptr_array_index(list.items, at);
        pthread_mutex_unlock(&list.lock);
        if (value != at)
            bench_die("a wrong value");
    }
}

/* In and out at a quarter of its length. */
static void list_move_member(unsigned index, void *unused)
{
    (void)index, (void)unused;
    for (uint64_t i = 0; i < list.ops; i++) {
        guint64 *item = g_malloc(sizeof *item);
        guint at;

        *item = i;
        pthread_mutex_lock(&list.lock);
        at = list.items->len / 4;
        g_ptr_array_insert(list.items, (gint)at, item);
        pthread_mutex_unlock(&list.lock);
        pthread_mutex_lock(&list.lock);
        g_ptr_array_remove_index(list.items, at);
        pthread_mutex_unlock(&list.lock);
    }
}

static double list_run(const struct bench_load *load, bench_member *work)
{
    double seconds;

    pthread_mutex_init(&list.lock, NULL);
    list.items = g_ptr_array_new_with_free_func(g_free);
    list.ops = load->ops / load->width + 1;
    for (uint64_t i = 0; i < load->size; i++) {
        guint64 *item = g_malloc(sizeof *item);

        *item = i;
        g_ptr_array_add(list.items, item);
    }
    seconds = bench_threads(load->width, work, NULL, NULL) / (double)(list.ops * load->width);
    g_ptr_array_free(list.items, TRUE);
    pthread_mutex_destroy(&list.lock);
    return seconds;
}

double glib_list_append(const struct bench_load *load) { return list_run(load, list_append_member); }
double glib_list_get(const struct bench_load *load) { return list_run(load, list_get_member); }
double glib_list_move(const struct bench_load *load) { return list_run(load, list_move_member); }
