/* SPDX-License-Identifier: MIT */
/*
 * A queue's operations as entries of plait_wait_any. One for puts, one for gets, and one for join do the work; an operation adds which
 * attempt it makes, what queues have it, and what the entry's number is.
 */
#include <plait/queue.h>

#include <errno.h>

#include "base/atomic.h"
#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/steps.h"

enum number { NO_NUMBER, PRIORITY, PRIORITY_OUT, TICKET_OUT };

struct operation {
    struct plait_waitable how; /* first: an entry points to it */
    plait__attempt_fn *attempt;
    enum number number; /* what the entry's size is */
    bool of_messages, far;
};

static const struct operation *operation_of(const struct plait_wait_entry *entry)
{
    return (const struct operation *)(const void *)entry->how;
}

static bool has_it(const struct plait_wait_entry *entry)
{
    const struct operation *operation = operation_of(entry);
    const struct plait_queue *q = entry->object;

    if (q->is_message != operation->of_messages || (operation->far && q->body->kind != PLAIT_DEQUE))
        return false;
    if (operation->number == TICKET_OUT)
        return q->ledger != NULL;
    return operation->number == NO_NUMBER || q->body->kind == PLAIT_PRIORITY;
}

static struct plait__order order_of(const struct plait__waiting *waiting, const struct operation *operation)
{
    struct plait__order o = { .items = waiting->entry->buffer, .far = operation->far, .max = SIZE_MAX };
    uint64_t number = waiting->entry->size;

    if (operation->number == PRIORITY)
        o.priority = (int64_t)number;
    else if (operation->number == PRIORITY_OUT)
        o.priority_out = (int64_t *)(uintptr_t)number;
    else if (operation->number == TICKET_OUT)
        o.ticket_out = (struct plait_ticket *)(uintptr_t)number;
    return o;
}

static int check(const struct plait_wait_entry *entry) { return has_it(entry) ? 0 : EINVAL; }

/* No room for, or no item from, a side whose lock somebody holds for long: not now. */
static int attempt_at(struct plait__waiting *waiting, enum plait__queue_end end)
{
    const struct operation *operation = operation_of(waiting->entry);
    struct plait_queue *q = waiting->entry->object;
    struct plait__order o = order_of(waiting, operation);
    int err;

    if (!waiting->tried && !has_it(waiting->entry))
        return EINVAL;
    err = plait__not_now(operation->attempt(q, &o, PLAIT_NOW));
    if (err != EAGAIN && waiting->enlisted)
        plait__queue_leave(q, end);
    return err;
}

static bool enlist_at(struct plait__waiting *waiting, enum plait__queue_end end, struct plait_wait_word *word_out)
{
    struct plait_queue *q = waiting->entry->object;
    uint32_t prepared = plait__side_announce(q, end, waiting->enlisted);

    if (q->ledger && end == PLAIT__GETS && !plait__queue_possible(q, end))
        plait__ledger_glance(q);
    *word_out = (struct plait_wait_word){ &plait__sleepers(q, end)->word, prepared, plait__queue_flags(q) };
    if (end == PLAIT__PUTS && q->body->overflow != PLAIT_OVERFLOW_WAIT)
        return false; /* the rule answers each put */
    return !plait__queue_possible(q, end) && load_acquire(&q->body->closed) == PLAIT__QUEUE_OPEN;
}

static int attempt_put(struct plait__waiting *waiting)
{
    return attempt_at(waiting, PLAIT__PUTS);
}

bool plait__queue_enlist_put(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    return enlist_at(waiting, PLAIT__PUTS, word_out);
}

void plait__queue_delist_put(struct plait__waiting *waiting)
{
    plait__queue_leave(waiting->entry->object, PLAIT__PUTS);
}

static int attempt_get(struct plait__waiting *waiting)
{
    return attempt_at(waiting, PLAIT__GETS);
}

bool plait__queue_enlist_get(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    return enlist_at(waiting, PLAIT__GETS, word_out);
}

void plait__queue_delist_get(struct plait__waiting *waiting)
{
    plait__queue_leave(waiting->entry->object, PLAIT__GETS);
}

#define PUTTING { attempt_put, plait__queue_enlist_put, plait__queue_delist_put, PLAIT__WATCH_ENLIST, check }
#define GETTING { attempt_get, plait__queue_enlist_get, plait__queue_delist_get, PLAIT__WATCH_ENLIST, check }

static struct plait_wait_entry entry(const struct operation *operation, plait_queue_t *q, const void *buffer, uint64_t number)
{
    return (struct plait_wait_entry){ .how = &operation->how, .object = q, .buffer = (void *)(uintptr_t)buffer, .size = number };
}

/* ---- Items ----------------------------------------------------------------------------------------------------- */

struct plait_wait_entry plait_any_queue_put(plait_queue_t *q, const void *item)
{
    static const struct operation put = { PUTTING, plait__queue_attempt_put, NO_NUMBER, false, false };

    return entry(&put, q, item, 0);
}

struct plait_wait_entry plait_any_queue_put_priority(plait_queue_t *q, const void *item, int64_t priority)
{
    static const struct operation put = { PUTTING, plait__queue_attempt_put, PRIORITY, false, false };

    return entry(&put, q, item, (uint64_t)priority);
}

struct plait_wait_entry plait_any_queue_put_front(plait_queue_t *q, const void *item)
{
    static const struct operation put = { PUTTING, plait__queue_attempt_put, NO_NUMBER, false, true };

    return entry(&put, q, item, 0);
}

struct plait_wait_entry plait_any_queue_get(plait_queue_t *q, void *item)
{
    static const struct operation get = { GETTING, plait__queue_attempt_get, NO_NUMBER, false, false };

    return entry(&get, q, item, 0);
}

struct plait_wait_entry plait_any_queue_get_priority(plait_queue_t *q, void *item, int64_t *priority_out)
{
    static const struct operation get = { GETTING, plait__queue_attempt_get, PRIORITY_OUT, false, false };

    return entry(&get, q, item, (uintptr_t)priority_out);
}

struct plait_wait_entry plait_any_queue_get_ticket(plait_queue_t *q, void *item, struct plait_ticket *ticket_out)
{
    static const struct operation get = { GETTING, plait__queue_attempt_get, TICKET_OUT, false, false };

    return entry(&get, q, item, (uintptr_t)ticket_out);
}

struct plait_wait_entry plait_any_queue_get_back(plait_queue_t *q, void *item)
{
    static const struct operation get = { GETTING, plait__queue_attempt_get, NO_NUMBER, false, true };

    return entry(&get, q, item, 0);
}

struct plait_wait_entry plait_any_queue_peek(plait_queue_t *q, void *item)
{
    static const struct operation peek = { GETTING, plait__queue_attempt_peek, NO_NUMBER, false, false };

    return entry(&peek, q, item, 0);
}

/* ---- Messages -------------------------------------------------------------------------------------------------- */

struct plait_wait_entry plait_any_queue_commit(plait_queue_t *q, struct plait_message *message)
{
    static const struct operation commit = { PUTTING, plait__queue_attempt_commit, NO_NUMBER, true, false };

    return entry(&commit, q, message, 0);
}

struct plait_wait_entry plait_any_queue_commit_front(plait_queue_t *q, struct plait_message *message)
{
    static const struct operation commit = { PUTTING, plait__queue_attempt_commit, NO_NUMBER, true, true };

    return entry(&commit, q, message, 0);
}

struct plait_wait_entry plait_any_queue_borrow(plait_queue_t *q, struct plait_message *message_out)
{
    static const struct operation borrow = { GETTING, plait__queue_attempt_borrow, NO_NUMBER, true, false };

    return entry(&borrow, q, message_out, 0);
}

struct plait_wait_entry plait_any_queue_borrow_back(plait_queue_t *q, struct plait_message *message_out)
{
    static const struct operation borrow = { GETTING, plait__queue_attempt_borrow, NO_NUMBER, true, true };

    return entry(&borrow, q, message_out, 0);
}

/* ---- Join ------------------------------------------------------------------------------------------------------ */

/*
 * 0: all is done. ETIMEDOUT: somebody has the lock. `kept` is how often all was done at the first look, inverted, so that 0 is
 * "not looked yet".
 */
static int look(struct plait__waiting *waiting)
{
    uint64_t zeros = ~waiting->kept;
    int err = plait__joining_look(waiting->entry->object, &zeros, PLAIT_NOW);

    waiting->kept = ~zeros;
    return err;
}

/* All who join are woken together: none to pass a wake on to. */
static void delist_join(struct plait__waiting *waiting)
{
    struct plait_queue *q = waiting->entry->object;

    plait__eventcount_cancel(&q->ledger->joiners);
    plait__eventcount_done(&q->ledger->joiners);
}

static int attempt_join(struct plait__waiting *waiting)
{
    struct plait_queue *q = waiting->entry->object;
    int err = q->ledger ? plait__not_now(look(waiting)) : EINVAL;

    if (err != EAGAIN && waiting->enlisted)
        delist_join(waiting);
    return err;
}

static bool enlist_join(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    struct plait_queue *q = waiting->entry->object;
    struct plait__eventcount *ec = &q->ledger->joiners;
    uint32_t prepared = waiting->enlisted ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    *word_out = (struct plait_wait_word){ &ec->word, prepared, plait__queue_flags(q) };
    return look(waiting) == EAGAIN;
}

static int check_join(const struct plait_wait_entry *entry) { return ((const struct plait_queue *)entry->object)->ledger ? 0 : EINVAL; }

struct plait_wait_entry plait_any_queue_join(plait_queue_t *q)
{
    static const struct operation join = { { attempt_join, enlist_join, delist_join, PLAIT__WATCH_ATTEMPT, check_join }, NULL, NO_NUMBER, false, false };

    return entry(&join, q, NULL, 0);
}
