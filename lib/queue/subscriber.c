/* SPDX-License-Identifier: MIT */
/*
 * How it works: a list of records, one for each subscription that there was at a time. One is made in `making` of the body,
 * becomes the first of the list by one store, and stays; whether it is in use is its state, another store. All that is changed
 * with the lock held, but for the position, which is the subscriber's (broadcast.c).
 *
 * Whose it is says the record: the thread that subscribed, as a hold of the arena's would (arena/holds.h), and its process. As
 * long as that thread lives its slot tells at a look; if it has ended, /proc is asked for the process.
 *
 * Killed at any instruction: before the state says so, nobody has subscribed; after that, it is as if the process had died
 * later. In between `making` and the list: both name the record, or only the one; the next holder of the lock takes it out of
 * `making` if it is the first, else it is made again.
 */
#include "queue/broadcast.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "arena/start_time.h"
#include "base/clock.h"
#include "base/words.h"
#include "queue/memory.h"
#include "wait/waitable.h"

enum { LOOK_AFTER = 50, BATCH_MAX = 64 }; /* milliseconds; items whose room is given back at once */

/* ---- Records, with the lock held ------------------------------------------------------------------------------- */

/* NULL: no record is there. */
static struct plait__broadcast_record *record_at(const struct plait_broadcast *b, uint64_t place)
{
    if (!b->base)
        return (struct plait__broadcast_record *)(uintptr_t)place;
    if (place > b->base->limit || !plait__arena_block_is_used(b->base, place + sizeof(struct plait__block),
                                                              sizeof(struct plait__broadcast_record)))
        return NULL;
    return plait__place_memory(b->base, place);
}

/* A walk through all records; `err`: how it ended. */
struct walk {
    const struct plait_broadcast *b;
    uint64_t place, budget;
    int err;
};

static struct walk all_records(const struct plait_broadcast *b)
{
    uint64_t most = b->base ? b->base->limit / sizeof(struct plait__broadcast_record) : UINT64_MAX;

    return (struct walk){ b, b->body->first, most, 0 };
}

static struct plait__broadcast_record *next_record(struct walk *walk)
{
    struct plait__broadcast_record *r;

    if (!walk->place)
        return NULL;
    r = walk->budget-- ? record_at(walk->b, walk->place) : NULL; /* more than fit into the arena: a circle */
    if (!r)
        walk->err = EBADMSG;
    else
        walk->place = r->next;
    return r;
}

static bool is_subscribed(const struct plait__broadcast_record *r)
{
    return load_relaxed(&r->state) == PLAIT__RECORD_SUBSCRIBED; /* relaxed: under the lock */
}

int plait__broadcast_slowest(const struct plait_broadcast *b, uint64_t *position_out, struct plait__broadcast_record **slowest_out)
{
    uint64_t next = load64_relaxed(&b->body->next), behind = 0; /* relaxed: under the lock */
    struct walk walk = all_records(b);
    struct plait__broadcast_record *r;

    *slowest_out = NULL;
    while ((r = next_record(&walk))) {
        uint64_t position = load64_acquire(&r->position); /* E2 */

        if (is_subscribed(r) && position < next && next - position > behind) {
            behind = next - position;
            *slowest_out = r;
        }
    }
    *position_out = next - behind;
    return walk.err;
}

/* One look asks the system about each process once. */
struct asked {
    uint64_t process;
    bool is_dead;
};

static bool is_lost(const struct plait_broadcast *b, const struct plait__broadcast_record *r, struct asked *asked)
{
    const struct plait__slot *slot;

    if (r->slot >= plait__slots_high(b->base))
        return true; /* damaged: nobody's */
    slot = plait__slot_at(b->base, r->slot);
    if (!plait__hold_is_orphan(slot, r->thread))
        return false;
    if (plait__hold_died(slot, r->thread))
        return true;
    if (asked->process != r->owner)
        *asked = (struct asked){ r->owner, plait__process_is_dead(r->owner) };
    return asked->is_dead;
}

static void wake_publishers(const struct plait_broadcast *b)
{
    struct plait__eventcount *ec = &b->body->room;

    if (__builtin_expect(load_seqcst(&ec->word) & 1, 0))
        plait__eventcount_wake(ec, INT_MAX, plait__broadcast_flags(b));
}

/* Nobody is held up by it any more; who makes an end of several wakes once. */
static void end_subscription(struct plait__broadcast_record *r)
{
    exchange_seqcst(&r->state, PLAIT__RECORD_UNUSED); /* E3 */
    barrier_after_rmw();
}

bool plait__broadcast_bury(const struct plait_broadcast *b, bool always)
{
    plait_time_t now = b->base ? plait_now() : 0;
    struct walk walk = all_records(b);
    struct plait__broadcast_record *r;
    struct asked asked = { 0 };
    bool any = false;

    if (!b->base || (!always && now >= b->body->looked && now - b->body->looked < LOOK_AFTER * PLAIT__MILLISECOND))
        return false;
    b->body->looked = now;
    while ((r = next_record(&walk)))
        if (is_subscribed(r) && is_lost(b, r, &asked)) {
            end_subscription(r);
            any = true;
        }
    if (any)
        wake_publishers(b);
    return any;
}

int plait__broadcast_mend_records(const struct plait_broadcast *b)
{
    int err = b->base ? plait__arena_settle(b->base) : 0; /* of what is being made: there, or not */

    if (err == 0 && b->body->first == b->body->making)
        b->body->making = 0;
    return err;
}

static struct plait__broadcast_record *find_unused(const struct plait_broadcast *b, int *err_out)
{
    struct walk walk = all_records(b);
    struct plait__broadcast_record *r;

    while ((r = next_record(&walk)))
        if (!is_subscribed(r))
            break;
    *err_out = walk.err;
    return r;
}

static int make_record(const struct plait_broadcast *b, struct plait__broadcast_record **record_out)
{
    struct plait__broadcast_body *body = b->body;
    int err = body->making ? 0 : plait__memory_alloc(b->base, sizeof **record_out, &body->making);

    if (err)
        return err;
    *record_out = record_at(b, body->making);
    if (!*record_out)
        return EBADMSG;
    memset(*record_out, 0, sizeof **record_out);
    (*record_out)->next = body->first;
    compiler_barrier();
    body->first = body->making;
    compiler_barrier();
    body->making = 0;
    return 0;
}

static int get_record(const struct plait_broadcast *b, struct plait__broadcast_record **record_out)
{
    int err;

    *record_out = find_unused(b, &err);
    if (!*record_out && err == 0 && plait__broadcast_bury(b, true))
        *record_out = find_unused(b, &err);
    return *record_out || err ? err : make_record(b, record_out);
}

/* The oldest item that is in the ring: the slot of that may have been spoilt by one who was killed there. */
static uint64_t oldest(const struct plait_broadcast *b)
{
    uint64_t next = load64_relaxed(&b->body->next), number = next > b->maxsize ? next - b->maxsize : 0;

    if (number < next && load64_acquire(plait__broadcast_slot(b, number)) != plait__broadcast_ready(number))
        number++;
    return number;
}

/* The calling process subscribes, from that item on. */
static int take_record(struct plait_subscriber *s, uint64_t position, uint64_t process)
{
    const struct plait_broadcast *b = &s->of;
    struct plait__broadcast_record *r;
    struct plait__slot *self = NULL;
    int err = b->base ? plait__member(b->base, &self) : 0;

    if (err == 0)
        err = get_record(b, &r);
    if (err)
        return err;
    r->token = s->token;
    if (self) {
        r->owner = process;
        r->thread = plait__hold_own_name(self, 0);
        r->slot = (uint32_t)(self - plait__slot_at(b->base, 0));
    }
    store64_release(&r->position, position);
    if (position < load64_relaxed(&b->body->floor)) /* relaxed: under the lock */
        store64_release(&b->body->floor, position);
    compiler_barrier();
    store_release(&r->state, PLAIT__RECORD_SUBSCRIBED);
    s->record = r;
    store64_relaxed(&s->seen, position);
    store_release(&s->epoch, plait__fork_epoch_renew()); /* E6 */
    return 0;
}

/* ---- Subscribing ----------------------------------------------------------------------------------------------- */

static bool is_ours(const struct plait_subscriber *s)
{
    return !s->of.base || load_acquire(&s->epoch) == plait__fork_epoch_renew(); /* E6 */
}

/* Distinct among all that there were. */
static uint64_t new_token(uint64_t process)
{
    static uint64_t count;

    return (add64_relaxed(&count, 1) << PLAIT__TID_BITS) ^ process; /* relaxed: distinct is all */
}

int plait_broadcast_subscribe(plait_broadcast_t *b, enum plait_broadcast_from from, plait_subscriber_t **subscriber_out)
{
    uint64_t process = b->base ? plait__process_id() : 0;
    struct plait_subscriber *s;
    int err;

    *subscriber_out = NULL;
    if (from != PLAIT_FROM_NEWEST && from != PLAIT_FROM_OLDEST)
        return EINVAL;
    s = calloc(1, sizeof *s);
    if (!s)
        return ENOMEM;
    plait__broadcast_share(b, &s->of);
    s->token = new_token(process);
    err = plait__broadcast_enter(b);
    if (err == 0) {
        err = take_record(s, from == PLAIT_FROM_OLDEST ? oldest(b) : load64_relaxed(&b->body->next), process);
        plait__broadcast_unlock(b);
    }
    if (err) {
        plait__broadcast_unshare(&s->of);
        free(s);
        return err;
    }
    *subscriber_out = s;
    return 0;
}

/* A child of fork uses its copy for the first time. */
static __attribute__((noinline)) int adopt(struct plait_subscriber *s)
{
    uint64_t process = plait__process_id();
    int err = plait__broadcast_enter(&s->of);

    if (err)
        return err;
    if (!is_ours(s)) { /* else another thread was faster */
        s->token = new_token(process);
        err = take_record(s, load64_relaxed(&s->seen), process); /* relaxed: written before the fork */
    }
    plait__broadcast_unlock(&s->of);
    return err;
}

static inline int enter(struct plait_subscriber *s)
{
    if (!s->of.base || __builtin_expect(load_acquire(&s->epoch) == plait__fork_epoch(), 1)) /* E6 */
        return 0;
    return is_ours(s) ? 0 : adopt(s);
}

static int unsubscribe(struct plait_subscriber *s)
{
    const struct plait_broadcast *b = &s->of;
    int err;

    if (!is_ours(s) || !plait__broadcast_is_there(b))
        return 0;
    err = plait__broadcast_enter(b);
    if (err)
        return err;
    if (s->record->token == s->token)
        end_subscription(s->record);
    plait__broadcast_unlock(b);
    wake_publishers(b);
    return 0;
}

int plait_subscriber_free(plait_subscriber_t *s)
{
    if (!s)
        return 0;
    if (unsubscribe(s) == ENOSPC) /* all else means that nobody waits for it */
        return ENOSPC;
    plait__broadcast_unshare(&s->of);
    free(s);
    return 0;
}

int plait_broadcast_subscribers(plait_broadcast_t *b, size_t *count_out)
{
    struct plait__broadcast_record *r;
    struct walk walk;
    int err = plait__broadcast_enter(b);

    *count_out = 0;
    if (err)
        return err;
    plait__broadcast_bury(b, true);
    for (walk = all_records(b); (r = next_record(&walk));)
        *count_out += is_subscribed(r);
    plait__broadcast_unlock(b);
    return walk.err;
}

/* ---- Getting --------------------------------------------------------------------------------------------------- */

/* Item number `position` was overwritten, as the word of its slot says. EAGAIN: another thread got on. */
static int skip(struct plait_subscriber *s, uint64_t position, uint64_t word)
{
    uint64_t over = word / 2, ring = s->of.maxsize, target, next = load64_acquire(&s->of.body->next);

    if (over <= position || (over - position) % ring != 0)
        return EBADMSG;
    target = (next > over ? next : over + 1) - ring;
    if (load_relaxed(&s->overtaken)) /* relaxed: it carries nothing */
        target += ring / 2;
    if (!cas64_acqrel(&s->record->position, &position, target))
        return EAGAIN;
    store_relaxed(&s->overtaken, 1);
    store64_relaxed(&s->seen, target);
    add64_relaxed(&s->missed, target - position);
    return EOVERFLOW;
}

/* Copy items from `position` on, as many as are there. *word_out: of the slot of the first that is not. */
static size_t copy(const struct plait_subscriber *s, uint64_t position, char *items, size_t max, uint64_t *word_out)
{
    size_t size = s->of.item_size, count = 0;

    for (; count < max; count++) {
        const uint64_t *slot = plait__broadcast_slot(&s->of, position + count);
        uint64_t ready = plait__broadcast_ready(position + count);

        *word_out = load64_acquire(slot); /* E1 */
        if (*word_out != ready)
            break;
        plait__words_load(items + count * size, slot + 1, size);
        *word_out = load64_acquire(slot); /* E1 */
        if (__builtin_expect(*word_out != ready, 0))
            break;
    }
    return count;
}

/* The position has moved on from there. */
static inline void moved(struct plait_subscriber *s, uint64_t position, size_t count)
{
    struct plait__broadcast_body *body = s->of.body;

    store64_relaxed(&s->seen, position + count); /* relaxed: read after a fork */
    if (__builtin_expect(load_relaxed(&s->overtaken), 0))
        store_relaxed(&s->overtaken, 0);
    barrier_after_rmw(); /* E3 */
    if (__builtin_expect(load_seqcst(&body->room.word) & 1, 0) && position <= load64_seqcst(&body->floor))
        wake_publishers(&s->of);
}

/* EAGAIN: there is nothing to get. */
static int take(struct plait_subscriber *s, char *items, size_t max, bool stays, size_t *count_out)
{
    for (;;) {
        uint32_t closed = load_acquire(&s->of.body->closed); /* E5 */
        uint64_t position = load64_acquire(&s->record->position), word = 0;
        int err;

        if (__builtin_expect(closed == PLAIT__BROADCAST_DISCARDED, 0))
            return EPIPE;
        *count_out = copy(s, position, items, max, &word);
        if (*count_out) {
            if (stays)
                return 0;
            if (__builtin_expect(cas64_acqrel(&s->record->position, &position, position + *count_out), 1)) { /* E2 */
                moved(s, position, *count_out);
                return 0;
            }
        } else if (word < plait__broadcast_ready(position)) {
            return closed ? EPIPE : EAGAIN;
        } else if ((err = skip(s, position, word)) != EAGAIN) {
            return err;
        }
    }
}

static int attempt_get(struct plait__broadcast_call *call, plait_time_t deadline)
{
    size_t max = call->max < BATCH_MAX ? call->max : BATCH_MAX, count;
    int err = take(call->subscriber, call->items, max, call->stays, &count);

    (void)deadline;
    if (err == 0) {
        call->items += count * call->broadcast->item_size;
        call->max -= count;
        call->done += count;
    }
    return err;
}

static bool is_something_there(const struct plait_subscriber *s)
{
    uint64_t position = load64_acquire(&s->record->position);

    return load_acquire(&s->of.body->closed) ||
           load64_acquire(plait__broadcast_slot(&s->of, position)) >= plait__broadcast_ready(position);
}

static size_t items_that_came(const struct plait__broadcast_call *call)
{
    const struct plait_subscriber *s = call->subscriber;
    uint64_t lag;

    if (!is_something_there(s))
        return 0;
    lag = load64_relaxed(&s->of.body->next) - load64_relaxed(&s->record->position); /* relaxed: a figure */
    return lag && lag <= s->of.maxsize ? lag : 1;
}

static int get(struct plait__broadcast_call *call, plait_time_t deadline)
{
    int err = attempt_get(call, deadline);

    if (__builtin_expect(err != EAGAIN, 1))
        return err;
    return plait__broadcast_wait(call, &call->broadcast->body->items, deadline);
}

static struct plait__broadcast_call call_of(struct plait_subscriber *s, void *items, size_t max)
{
    return (struct plait__broadcast_call){
        .attempt = attempt_get, .possible = items_that_came, .broadcast = &s->of, .subscriber = s, .items = items, .max = max
    };
}

int plait_subscriber_get(plait_subscriber_t *s, void *item, plait_time_t deadline)
{
    struct plait__broadcast_call call;
    size_t count;
    int err = enter(s);

    if (__builtin_expect(err == 0, 1))
        err = take(s, item, 1, false, &count);
    if (__builtin_expect(err != EAGAIN, 1))
        return err;
    call = call_of(s, item, 1);
    return plait__broadcast_wait(&call, &s->of.body->items, deadline);
}

int plait_subscriber_peek(plait_subscriber_t *s, void *item, plait_time_t deadline)
{
    struct plait__broadcast_call call = call_of(s, item, 1);
    int err = enter(s);

    call.stays = true;
    return err ? err : get(&call, deadline);
}

int plait_subscriber_get_many(plait_subscriber_t *s, void *items, size_t min, size_t max, size_t *count_out,
                              plait_time_t deadline)
{
    struct plait__broadcast_call call = call_of(s, items, max);
    int err = min > max ? EINVAL : enter(s);

    while (err == 0 && call.done < min)
        err = get(&call, deadline);
    while (err == 0 && call.max)
        err = attempt_get(&call, PLAIT_NOW);
    *count_out = call.done;
    if (err == EAGAIN || (call.done && call.done >= min && err != EOVERFLOW)) /* what is told again can wait */
        err = 0;
    return err;
}

unsigned long long plait_subscriber_missed(const plait_subscriber_t *s)
{
    return load64_relaxed(&s->missed);
}

size_t plait_subscriber_lag(const plait_subscriber_t *s)
{
    uint64_t position = is_ours(s) ? load64_acquire(&s->record->position) : load64_relaxed(&s->seen);
    uint64_t next = load64_acquire(&s->of.body->next);

    return next > position ? next - position : 0;
}

/* ---- Among others ---------------------------------------------------------------------------------------------- */

static void delist(struct plait__waiting *waiting)
{
    const struct plait_subscriber *s = waiting->entry->object;

    plait__eventcount_cancel(&s->of.body->items);
}

static int attempt_among(struct plait__waiting *waiting)
{
    struct plait_subscriber *s = waiting->entry->object;
    size_t count;
    int err = enter(s);

    if (err == 0)
        err = take(s, waiting->entry->buffer, 1, false, &count);
    if (err != EAGAIN && waiting->enlisted)
        delist(waiting);
    return err;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    const struct plait_subscriber *s = waiting->entry->object;
    struct plait__eventcount *ec = &s->of.body->items;
    uint32_t prepared = waiting->enlisted ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    *word_out = (struct plait_wait_word){ &ec->word, prepared, plait__broadcast_flags(&s->of) };
    return !is_something_there(s); /* E4 */
}

struct plait_wait_entry plait_any_subscriber_get(plait_subscriber_t *s, void *item)
{
    static const struct plait_waitable getting = { attempt_among, enlist, delist, PLAIT__WATCH_ENLIST, NULL };

    return (struct plait_wait_entry){ .how = &getting, .object = s, .buffer = item };
}

/* ---- The end --------------------------------------------------------------------------------------------------- */

void plait__broadcast_free_records(const struct plait_broadcast *b)
{
    struct plait__broadcast_body *body = b->body;
    uint64_t budget = b->base ? b->base->limit / sizeof(struct plait__broadcast_record) : UINT64_MAX;

    if (body->making && record_at(b, body->making))
        plait__memory_free(b->base, &body->making);
    while (body->first && budget--) {
        struct plait__broadcast_record *r = record_at(b, body->first);

        if (!r)
            return;
        body->making = body->first;
        body->first = r->next;
        plait__memory_free(b->base, &body->making);
    }
}
