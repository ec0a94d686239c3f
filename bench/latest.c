/* SPDX-License-Identifier: MIT */
/* Latest values: a free read and a free write, reads beside a writer and writes beside a reader; `size` is the value's bytes. */
#include <plait.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { VALUE_MAX = 65536, LINE = 64 };

/* A way to keep a value. */
struct way {
    void *(*make)(unsigned size);
    void (*drop)(void *cell);
    void (*write)(void *cell, const void *value);
    void (*read)(void *cell, void *value);
};

static void *memory_for(size_t size)
{
    void *memory;

    if (posix_memalign(&memory, LINE, size))
        bench_die("posix_memalign");
    memset(memory, 0, size);
    return memory;
}

/* ---- Ours ---- */

static void *ours_make(unsigned size)
{
    plait_latest_t *latest;

    if (plait_latest_new(&latest, &(struct plait_latest_opts){ .value_size = size }))
        bench_die("plait_latest_new");
    return latest;
}

static void ours_drop(void *cell) { plait_latest_free(cell); }
static void ours_write(void *cell, const void *value) { plait_latest_write(cell, value, PLAIT_FOREVER); }
static void ours_read(void *cell, void *value) { plait_latest_read(cell, value, NULL); }

static const struct way ours = { ours_make, ours_drop, ours_write, ours_read };

/* ---- A value under a read-write lock ---- */

struct guarded {
    pthread_rwlock_t lock;
    unsigned size;
    char value[] __attribute__((aligned(64)));
};

static void *guarded_make(unsigned size)
{
    struct guarded *g = memory_for(sizeof *g + size);

    g->size = size;
    pthread_rwlock_init(&g->lock, NULL);
    return g;
}

static void guarded_drop(void *cell)
{
    struct guarded *g = cell;

    pthread_rwlock_destroy(&g->lock);
    free(g);
}

static void guarded_write(void *cell, const void *value)
{
    struct guarded *g = cell;

    pthread_rwlock_wrlock(&g->lock);
    memcpy(g->value, value, g->size);
    pthread_rwlock_unlock(&g->lock);
}

static void guarded_read(void *cell, void *value)
{
    struct guarded *g = cell;

    pthread_rwlock_rdlock(&g->lock);
    memcpy(value, g->value, g->size);
    pthread_rwlock_unlock(&g->lock);
}

static const struct way guarded = { guarded_make, guarded_drop, guarded_write, guarded_read };

/*
 * ---- A sequence lock; writers exclude each other by a mutex ----
 *
 * The value is copied by memcpy, which is as fast as can be, and a data race to C11 and to tools. It does not survive a death, and
 * its readers wait for the writer.
 */
struct sequence {
    pthread_mutex_t lock;
    unsigned size;
    uint64_t number __attribute__((aligned(64))); /* odd: being written */
    char value[] __attribute__((aligned(64)));
};

static void *sequence_make(unsigned size)
{
    struct sequence *s = memory_for(sizeof *s + size);

    s->size = size;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void sequence_drop(void *cell)
{
    struct sequence *s = cell;

    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void sequence_write(void *cell, const void *value)
{
    struct sequence *s = cell;
    uint64_t number;

    pthread_mutex_lock(&s->lock);
    number = __atomic_load_n(&s->number, __ATOMIC_RELAXED);
    __atomic_store_n(&s->number, number + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(s->value, value, s->size);
    __atomic_store_n(&s->number, number + 2, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->lock);
}

static void sequence_read(void *cell, void *value)
{
    struct sequence *s = cell;
    uint64_t before;

    do {
        while ((before = __atomic_load_n(&s->number, __ATOMIC_ACQUIRE)) & 1)
            bench_spin(1);
        memcpy(value, s->value, s->size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (__atomic_load_n(&s->number, __ATOMIC_RELAXED) != before);
}

static const struct way sequence = { sequence_make, sequence_drop, sequence_write, sequence_read };

/* ---- Loads ---- */

static double free_reads(const struct bench_load *load, const struct way *way)
{
    char *value = memory_for(VALUE_MAX);
    void *cell = way->make(load->size);
    double seconds;

    way->write(cell, value);
    seconds = bench_now();
    for (uint64_t i = 0; i < load->ops; i++)
        way->read(cell, value);
    seconds = bench_now() - seconds;
    way->drop(cell);
    free(value);
    return seconds / (double)load->ops;
}

static double free_writes(const struct bench_load *load, const struct way *way)
{
    char *value = memory_for(VALUE_MAX);
    void *cell = way->make(load->size);
    double seconds = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        way->write(cell, value);
    seconds = bench_now() - seconds;
    way->drop(cell);
    free(value);
    return seconds / (double)load->ops;
}

/* One writes, the other reads, until stopped. All bytes of a value are the same, which a few of them tell. */
struct beside {
    uint32_t stop; /* atomic */
    unsigned size, pause;
    const struct way *way;
    void *cell;
    uint64_t reads, writes;
};

static void beside_member(unsigned index, void *arg)
{
    struct beside *b = arg;
    char *value = memory_for(VALUE_MAX);
    uint64_t count = 0;

    for (; !__atomic_load_n(&b->stop, __ATOMIC_RELAXED); count++) {
        if (index == 0) {
            memset(value, (int)count, b->size);
            b->way->write(b->cell, value);
            bench_spin(b->pause);
        } else {
            b->way->read(b->cell, value);
            if (value[0] != value[b->size - 1] || value[0] != value[b->size / 2])
                bench_die("a torn value");
        }
    }
    *(index ? &b->reads : &b->writes) = count;
    free(value);
}

static double beside(const struct bench_load *load, const struct way *way, bool reads)
{
    struct beside *b = memory_for(sizeof *b);
    char *zeros = memory_for(VALUE_MAX);
    double seconds;
    uint64_t count;

    *b = (struct beside){ .size = load->size, .pause = load->work, .way = way, .cell = way->make(load->size) };
    way->write(b->cell, zeros);
    seconds = bench_threads(2, beside_member, b, &b->stop);
    count = reads ? b->reads : b->writes;
    way->drop(b->cell);
    free(zeros);
    free(b);
    return seconds / (double)(count ? count : 1);
}

static double ours_free_read(const struct bench_load *load) { return free_reads(load, &ours); }
static double guarded_free_read(const struct bench_load *load) { return free_reads(load, &guarded); }
static double sequence_free_read(const struct bench_load *load) { return free_reads(load, &sequence); }
static double ours_free_write(const struct bench_load *load) { return free_writes(load, &ours); }
static double guarded_free_write(const struct bench_load *load) { return free_writes(load, &guarded); }
static double sequence_free_write(const struct bench_load *load) { return free_writes(load, &sequence); }
static double ours_reads(const struct bench_load *load) { return beside(load, &ours, true); }
static double guarded_reads(const struct bench_load *load) { return beside(load, &guarded, true); }
static double sequence_reads(const struct bench_load *load) { return beside(load, &sequence, true); }
static double ours_writes(const struct bench_load *load) { return beside(load, &ours, false); }
static double guarded_writes(const struct bench_load *load) { return beside(load, &guarded, false); }
static double sequence_writes(const struct bench_load *load) { return beside(load, &sequence, false); }

/* ---- The table ---- */

#define FREE(verb, bytes)                                                                                          \
    { "latest." #verb ".free." #bytes, BENCH_NS, { .size = bytes },                                                \
      { { "plait", ours_free_##verb }, { "pthread_rwlock", guarded_free_##verb },                                  \
        { "seqlock", sequence_free_##verb } }, 0 }

/* The writer pauses for a microsecond between writes, or not at all. */
#define BESIDE(what, name, nanoseconds, bytes)                                                                     \
    { "latest." #what name "." #bytes, BENCH_PER_SECOND, { .width = 2, .size = bytes, .work = nanoseconds },       \
      { { "plait", ours_##what }, { "pthread_rwlock", guarded_##what }, { "seqlock", sequence_##what } }, 0 }

const struct bench_metric bench_latest[] = {
    FREE(read, 8),
    FREE(read, 256),
    FREE(read, 4096),
    FREE(write, 8),
    FREE(write, 256),
    FREE(write, 4096),
    BESIDE(reads, ".writer_1us", 1000, 64),
    BESIDE(reads, ".writer_1us", 1000, 4096),
    BESIDE(reads, ".writer_busy", 0, 64),
    BESIDE(reads, ".writer_busy", 0, 4096),
    BESIDE(writes, ".reader_busy", 0, 64),
    BESIDE(writes, ".reader_busy", 0, 4096),
    { 0 },
};
