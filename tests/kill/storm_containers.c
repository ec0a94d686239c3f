/* SPDX-License-Identifier: MIT */
/*
 * The storm: work that has to be done, and containers. What was got of the jobs and was not done comes back when its worker was
 * killed; each is done once, but for those who were killed between that and their note of it. Values are whole whatever was
 * killed, counts lie between what is over and what was tried, and dead subscribers hold no publisher up.
 */
#include "kill/storm.h"

#include <errno.h>
#include <string.h>

enum { KEYS = 16, LIST_MOST = 50, WORDS = 12, BROADCAST_SIZE = 8, JOBS_SIZE = 20 };

/* All words of a value are made of the first. */
struct value {
    uint64_t words[WORDS];
};

static plait_queue_t *jobs;
static plait_dict_t *dict;
static plait_list_t *list;
static plait_latest_t *latest;
static plait_array_t *array;
static plait_broadcast_t *broadcast;

/* The worker's own. */
static plait_subscriber_t *subscriber;
static uint64_t newest;

static struct value some_value(void)
{
    uint64_t first = (uint64_t)rand_r(&my_seed) + 1;
    struct value v;

    for (size_t i = 0; i < WORDS; i++)
        v.words[i] = first * (i + 1);
    return v;
}

static bool is_whole(const struct value *v)
{
    for (size_t i = 1; i < WORDS; i++)
        if (v->words[i] != v->words[0] * (i + 1))
            return false;
    return v->words[0] != 0;
}

/* ---- Jobs ---- */

void use_job_put(void)
{
    uint32_t job = __atomic_fetch_add(&record->next_job, 1, __ATOMIC_RELAXED);
    int err;

    if (job >= JOBS_MAX)
        return;
    __atomic_fetch_or(&record->jobs[job], PUT_TRIED, __ATOMIC_RELAXED);
    err = plait_queue_put(jobs, &job, plait_after(0.001));
    REQUIRE(err == 0 || err == ETIMEDOUT || err == ENOSPC);
    if (err == 0)
        __atomic_fetch_or(&record->jobs[job], PUT_RETURNED, __ATOMIC_RELAXED);
}

void use_job(plait_time_t deadline)
{
    struct plait_ticket ticket;
    uint32_t job;
    int err;

    __atomic_store_n(&me->in_get, 1, __ATOMIC_SEQ_CST);
    err = plait_queue_get_ticket(jobs, &job, &ticket, deadline);
    REQUIRE(err == 0 || err == ETIMEDOUT || err == ENOSPC);
    if (err == 0) {
        for (volatile int i = 0; i < 2000; i++) /* a good moment to be killed */
            ;
        REQUIRE(job < JOBS_MAX && plait_queue_task_done(jobs, &ticket) == 0);
        if (__atomic_fetch_or(&record->jobs[job], GOT, __ATOMIC_SEQ_CST) & GOT)
            __atomic_fetch_or(&record->jobs[job], GOT_TWICE, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&me->in_get, 0, __ATOMIC_SEQ_CST);
}

/* ---- Containers ---- */

void use_dict(void)
{
    uint32_t key = (uint32_t)rand_r(&my_seed) % KEYS;
    struct value v = some_value();
    size_t size;
    int err;

    switch (rand_r(&my_seed) % 4) {
    case 0:
        REQUIRE(plait_dict_set(dict, &key, sizeof key, &v, sizeof v) == 0);
        break;
    case 1:
        err = plait_dict_delete(dict, &key, sizeof key);
        REQUIRE(err == 0 || err == ENOENT);
        break;
    case 2:
        __atomic_fetch_add(&record->summed.tried, 1, __ATOMIC_SEQ_CST);
        REQUIRE(plait_dict_add(dict, PLAIT_TEXT("sum"), 1, NULL) == 0);
        __atomic_fetch_add(&record->summed.over, 1, __ATOMIC_SEQ_CST);
        break;
    default:
        err = plait_dict_get(dict, &key, sizeof key, &v, sizeof v, &size);
        REQUIRE(err == ENOENT || (err == 0 && size == sizeof v && is_whole(&v)));
    }
}

void use_list(void)
{
    int64_t index = rand_r(&my_seed) % 2 ? -1 : 0;
    bool is_long = plait_list_len(list) > LIST_MOST;
    struct value v = some_value();
    size_t size;
    int err;

    switch (is_long ? 2 : rand_r(&my_seed) % 3) {
    case 0:
        REQUIRE(plait_list_insert(list, index, &v, sizeof v) == 0);
        break;
    case 1:
        err = plait_list_get(list, index, &v, sizeof v, &size);
        REQUIRE(err == ENOENT || (err == 0 && size == sizeof v && is_whole(&v)));
        break;
    default:
        err = plait_list_pop(list, index, &v, sizeof v, &size);
        REQUIRE(err == ENOENT || (err == 0 && size == sizeof v && is_whole(&v)));
    }
}

void use_latest(void)
{
    struct value v = some_value();
    uint64_t version;
    int err;

    if (rand_r(&my_seed) % 2) {
        REQUIRE(plait_latest_write(latest, &v, plait_after(1.5)) == 0);
        return;
    }
    err = plait_latest_read(latest, &v, &version);
    REQUIRE(err == ENOENT || (err == 0 && is_whole(&v) && version >= newest));
    newest = err ? newest : version;
}

void use_array(void)
{
    __atomic_fetch_add(&record->ticked.tried, 1, __ATOMIC_SEQ_CST);
    REQUIRE(plait_array_add(array, 0, 1, NULL) == 0);
    __atomic_fetch_add(&record->ticked.over, 1, __ATOMIC_SEQ_CST);
}

void use_broadcast(void)
{
    struct value v = some_value();
    int err;

    if (rand_r(&my_seed) % 3 == 0) {
        err = plait_broadcast_put(broadcast, &v, plait_after(0.0003));
        REQUIRE(err == 0 || err == ETIMEDOUT);
        return;
    }
    if (!subscriber) {
        enum plait_broadcast_from from = rand_r(&my_seed) % 2 ? PLAIT_FROM_OLDEST : PLAIT_FROM_NEWEST;

        REQUIRE(plait_broadcast_subscribe(broadcast, from, &subscriber) == 0);
    }
    for (int i = 0; i < BROADCAST_SIZE; i++) {
        err = plait_subscriber_get(subscriber, &v, PLAIT_NOW);
        REQUIRE(err == ETIMEDOUT || (err == 0 && is_whole(&v)));
    }
}

/* ---- All of them ---- */

int make_containers(void)
{
    return plait_queue_new(&jobs, &(struct plait_queue_opts){ .item_size = sizeof(uint32_t), .maxsize = JOBS_SIZE,
                                                              .arena = arena, .joinable = 1 }) ||
           plait_dict_new(&dict, &(struct plait_dict_opts){ .arena = arena }) ||
           plait_list_new(&list, &(struct plait_list_opts){ .arena = arena }) ||
           plait_latest_new(&latest, &(struct plait_latest_opts){ .arena = arena, .value_size = sizeof(struct value) }) ||
           plait_array_new(&array, &(struct plait_array_opts){ .arena = arena, .count = 1 }) ||
           plait_broadcast_new(&broadcast, &(struct plait_broadcast_opts){ .arena = arena, .item_size = sizeof(struct value),
                                                                           .maxsize = BROADCAST_SIZE });
}

static bool is_between(uint64_t over, uint64_t counted, uint64_t tried)
{
    return over <= counted && counted <= tried;
}

static const char *jobs_are_done(void)
{
    while (plait_queue_unfinished(jobs) > 0 && !me->fault)
        use_job(plait_after(1));
    if (me->fault)
        return "jobs: what is left cannot be done";
    return plait_queue_join(jobs, PLAIT_NOW) ? "jobs: not all are done" : NULL;
}

static int look_at_list_item(const struct plait_list_item *item, void *unused)
{
    struct value v;

    if (item->size != sizeof v)
        return EBADMSG;
    memcpy(&v, item->bytes, sizeof v);
    return is_whole(&v) ? 0 : EBADMSG;
}

static const char *broadcast_goes_on(void)
{
    struct value v = some_value();
    size_t count = 0;

    for (int i = 0; i < 2 * BROADCAST_SIZE; i++) /* all who subscribed are dead, or ended */
        if (plait_broadcast_put(broadcast, &v, plait_after(2)))
            return "broadcast: the dead hold a publisher up";
    if (plait_broadcast_subscribers(broadcast, &count) || count)
        return "broadcast: somebody dead subscribes";
    return plait_broadcast_published(broadcast) > 2 * BROADCAST_SIZE ? NULL : "broadcast: nothing was put";
}

const char *containers_are_right(void)
{
    const char *wrong = jobs_are_done();
    int64_t sum = 0;

    if (!wrong)
        wrong = broadcast_goes_on();
    if (wrong)
        return wrong;
    if (plait_dict_add(dict, PLAIT_TEXT("sum"), 0, &sum) || !is_between(record->summed.over, (uint64_t)sum, record->summed.tried))
        return "dict: the sum is wrong";
    if (plait_list_for_each(list, look_at_list_item, NULL))
        return "list: an item is torn";
    if (!is_between(record->ticked.over, (uint64_t)plait_array_get_int(array, 0), record->ticked.tried))
        return "array: the sum is wrong";
    return plait_queue_destroy(jobs) || plait_dict_destroy(dict) || plait_list_destroy(list) || plait_latest_destroy(latest) ||
                   plait_array_destroy(array) || plait_broadcast_destroy(broadcast)
               ? "containers: they cannot be destroyed"
               : NULL;
}
