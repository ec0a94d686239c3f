/* SPDX-License-Identifier: MIT */
/* Pool on processes: records of tasks, and names of functions. All with the pool's lock held. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "exec/pool_processes.h"

/*
 * How it works
 *
 * Records come from slabs in the arena, which stay until the pool goes. A free one lies in `free_records`, linked by `next`.
 *
 * Bare records come back from the workers: the worker that has ended such a task makes it DONE and links it with others of
 * its own, and pushes the chain on the stack `given_back` when it has got long, or there is nothing else to do. When there
 * is no free record here, the whole stack becomes the list of them, as it is: a record in that list may say DONE, and is not
 * looked at.
 *
 *   E1 the worker ends its use of a record, then pushes it (release); who takes the stack acquires it.
 *
 * Killed with a chain in hand, a worker leaves bare records that are DONE by its number, and so do those that it has pushed.
 * To tell them apart, all that was pushed is had back first, and marked FREE; the rest is then what it had in hand.
 */

/* ---- Functions -------------------------------------------------------------------------------- */

/* The module in the arena, put there when it is first used. */
static int share_module(struct pool *pool, const struct plait__module *wanted, uint64_t *offset_out)
{
    struct module *module;
    int err;

    for (module = pool->modules; module; module = module->next)
        if (memcmp(module->shared, wanted, sizeof *wanted) == 0)
            break;
    if (!module) {
        module = malloc(sizeof *module);
        if (!module)
            return ENOMEM;
        err = plait_arena_alloc(pool->arena, sizeof *wanted, (void **)&module->shared);
        if (err) {
            free(module);
            return err;
        }
        *module->shared = *wanted;
        module->next = pool->modules;
        pool->modules = module;
    }
    *offset_out = plait__offset_in(pool->base, module->shared);
    return 0;
}

static int share_function(struct pool *pool, plait_task_fn *fn, uint64_t generation, struct function **function_out)
{
    struct plait__pool_function named = { .fn = (uintptr_t)fn };
    struct plait__function found;
    struct function *function;
    int err = plait__function_of((const void *)(uintptr_t)fn, &found);

    if (err == 0)
        err = share_module(pool, &found.module, &named.module);
    if (err)
        return err;
    named.function = found.offset;
    function = malloc(sizeof *function);
    if (!function)
        return ENOMEM;
    err = plait_arena_alloc(pool->arena, sizeof named, (void **)&function->shared);
    if (err) {
        free(function);
        return err;
    }
    *function->shared = named;
    function->generation = generation;
    function->next = pool->functions;
    pool->functions = *function_out = function;
    return 0;
}

static bool is_named(const struct function *function, plait_task_fn *fn, uint64_t generation)
{
    return function->shared->fn == (uintptr_t)fn && function->generation == generation;
}

int plait__pool_name_function(struct pool *pool, plait_task_fn *fn, uint64_t *function_out)
{
    struct function **cached = &pool->cached[(uintptr_t)fn / 16 % CACHED_FUNCTIONS], *function = *cached;
    uint64_t generation = plait__modules_generation();
    int err;

    if (!function || !is_named(function, fn, generation)) {
        for (function = pool->functions; function && !is_named(function, fn, generation); function = function->next)
            ;
        err = function ? 0 : share_function(pool, fn, generation, &function);
        if (err)
            return err;
        *cached = function;
    }
    *function_out = plait__offset_in(pool->base, function->shared);
    return 0;
}

void plait__pool_free_functions(struct pool *pool)
{
    for (struct module *module; (module = pool->modules) != NULL;) {
        pool->modules = module->next;
        free(module);
    }
    for (struct function *function; (function = pool->functions) != NULL;) {
        pool->functions = function->next;
        free(function);
    }
}

/* ---- Records ---------------------------------------------------------------------------------- */

static struct plait__pool_record *record_at(struct pool *pool, uint64_t offset)
{
    return offset ? plait__at(pool->base, offset) : NULL;
}

static void push_free(struct pool *pool, struct plait__pool_record *record)
{
    store_release(&record->word, TASK_FREE);
    record->next = pool->free_records ? plait__offset_in(pool->base, pool->free_records) : 0;
    pool->free_records = record;
}

void plait__pool_give_record(struct pool *pool, struct plait__pool_record *record)
{
    plait__pool_release(pool->base, &record->arg_offset);
    plait__pool_release(pool->base, &record->result_offset);
    plait__pool_release(pool->base, &record->extra);
    push_free(pool, record);
}

static int make_slab(struct pool *pool)
{
    struct slab *slab;
    int err = plait_arena_alloc(pool->arena, sizeof *slab, (void **)&slab);

    if (err)
        return err;
    if (!pool->slabs)
        pool->last_slab = &pool->slabs;
    *pool->last_slab = slab;
    pool->last_slab = &slab->next;
    for (int i = SLAB_RECORDS - 1; i >= 0; i--)
        push_free(pool, &slab->records[i]);
    return 0;
}

int plait__pool_take_record(struct pool *pool, struct plait__pool_record **record_out)
{
    struct plait__pool_record *record;
    int err;

    if (!pool->free_records && load64_relaxed(&pool->shared->given_back)) /* relaxed: a reason to look */
        pool->free_records = record_at(pool, __atomic_exchange_n(&pool->shared->given_back, 0, __ATOMIC_ACQUIRE)); /* E1 */
    if (!pool->free_records) {
        err = make_slab(pool);
        if (err)
            return err;
    }
    record = pool->free_records;
    pool->free_records = record_at(pool, record->next);
    store_relaxed(&record->word, TASK_FREE); /* relaxed: it is ours */
    store_release(&record->generation, (record->generation + 1) & GENERATION_MASK);
    *record_out = record;
    return 0;
}

struct plait__pool_record *plait__pool_walk(struct pool *pool, struct walk *walk)
{
    if (!walk->slab) {
        walk->slab = pool->slabs;
        walk->next = 0;
    } else if (walk->next == SLAB_RECORDS && walk->slab->next) {
        walk->slab = walk->slab->next;
        walk->next = 0;
    }
    return walk->slab && walk->next < SLAB_RECORDS ? &walk->slab->records[walk->next++] : NULL;
}

void plait__pool_have_back(struct pool *pool)
{
    uint64_t offset = __atomic_exchange_n(&pool->shared->given_back, 0, __ATOMIC_ACQUIRE); /* E1 */

    for (struct plait__pool_record *record = pool->free_records; record; record = record_at(pool, record->next))
        store_relaxed(&record->word, TASK_FREE); /* relaxed: it is ours */
    while (offset) {
        struct plait__pool_record *record = record_at(pool, offset);

        offset = record->next;
        push_free(pool, record);
    }
}

void plait__pool_end_bare(struct pool *pool, struct plait__pool_record *record)
{
    add64_relaxed(&pool->front.settled, 1);
    plait__pool_give_record(pool, record);
    plait__pool_make_room(&pool->front);
}
