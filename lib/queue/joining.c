/* SPDX-License-Identifier: MIT */
/* The calls for what was got and is not done. How that is known, and why no joiner is forgotten, is told in ledger.c. */
#include <errno.h>
#include <pthread.h>

#include "arena/start_time.h"
#include "queue/ledger.h"
#include "queue/order.h"

/* ---- Tickets ----------------------------------------------------------------------------------------------------- */

static bool is_of_caller(const struct plait__record *r, const struct plait__record *self)
{
    return r->owner == self->owner && r->thread == self->thread && r->slot == self->slot && r->fiber == self->fiber;
}

/* The latest that the caller took; 0: none. */
static uint32_t latest(struct plait_queue *q)
{
    struct plait__record self = { 0 };
    uint32_t number = q->ledger->taken.last;

    plait__ledger_sign(q, &self);
    while (number && !is_of_caller(plait__record_at(q, number), &self))
        number = plait__record_at(q, number)->prev;
    return number;
}

/* The oldest that the caller took, else that its process did; 0: none. */
static uint32_t oldest(struct plait_queue *q)
{
    struct plait__record self = { 0 };
    uint32_t of_process = 0;

    plait__ledger_sign(q, &self);
    for (uint32_t number = q->ledger->taken.first; number; number = plait__record_at(q, number)->next) {
        const struct plait__record *r = plait__record_at(q, number);

        if (is_of_caller(r, &self))
            return number;
        if (!of_process && r->owner == self.owner)
            of_process = number;
    }
    return of_process;
}

static int find(struct plait_queue *q, const struct plait_ticket *ticket, uint32_t *number_out)
{
    struct plait__record *r;

    *number_out = ticket ? ticket->record : oldest(q);
    if (*number_out == 0 || *number_out > plait__records_ready(q))
        return EOVERFLOW;
    r = plait__record_at(q, *number_out);
    if (plait__record_state_of(r) != PLAIT__RECORD_TAKEN || (ticket && r->number != ticket->number))
        return EOVERFLOW;
    return !q->base || r->owner == plait__process_id() ? 0 : EPERM;
}

int plait_queue_taken(plait_queue_t *q, struct plait_ticket *ticket_out)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t number;
    int err = q->ledger ? plait__side_lock(q, side, PLAIT_FOREVER) : EINVAL;

    *ticket_out = (struct plait_ticket){ 0 };
    if (err)
        return err;
    number = latest(q);
    if (number)
        *ticket_out = plait__ledger_ticket(q, number);
    plait__side_unlock(q, side);
    return number ? 0 : EINVAL;
}

int plait_queue_task_done(plait_queue_t *q, const struct plait_ticket *ticket)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    bool done = false;
    uint32_t number;
    int err = q->ledger ? plait__side_lock(q, side, PLAIT_FOREVER) : EINVAL;

    if (err)
        return err;
    err = find(q, ticket, &number);
    if (err == 0) {
        plait__ledger_finish(q, &q->ledger->taken, number);
        done = plait__ledger_note_if_done(q);
    }
    plait__side_unlock(q, side);
    if (done)
        plait__ledger_tell(q);
    return err;
}

/* ---- Joining ----------------------------------------------------------------------------------------------------- */

int plait__joining_look(struct plait_queue *q, uint64_t *zeros, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    int err = plait__side_lock(q, side, deadline);

    if (err)
        return err;
    plait__ledger_look_if_due(q);
    if (plait__ledger_unfinished(q) && (*zeros == UINT64_MAX || *zeros == load64_relaxed(&q->ledger->zeros)))
        err = EAGAIN;
    *zeros = load64_relaxed(&q->ledger->zeros); /* relaxed: under the lock */
    plait__side_unlock(q, side);
    return err;
}

static void cancelled(void *joiners)
{
    plait__eventcount_cancel(joiners);
}

static int sleep_until_told(struct plait_queue *q, uint64_t *zeros, plait_time_t deadline)
{
    struct plait__eventcount *ec = &q->ledger->joiners;
    plait_time_t slice = 0;
    int err;

    for (;;) {
        uint32_t prepared = plait__eventcount_prepare(ec);
        int wait_err;

        err = plait__joining_look(q, zeros, deadline);
        if (err != EAGAIN) {
            plait__eventcount_cancel(ec);
            return err;
        }
        pthread_cleanup_push(cancelled, ec);
        wait_err = plait__eventcount_wait(ec, prepared, plait__queue_flags(q), deadline, &slice);
        pthread_cleanup_pop(0);
        plait__eventcount_done(ec); /* all who sleep here are woken together: none to pass a wake on to */
        err = plait__joining_look(q, zeros, deadline);
        if (err != EAGAIN)
            return err;
        if (wait_err)
            return wait_err;
    }
}

int plait_queue_join(plait_queue_t *q, plait_time_t deadline)
{
    uint64_t zeros = UINT64_MAX;
    int err = q->ledger ? plait__joining_look(q, &zeros, deadline) : EINVAL;

    if (err != EAGAIN)
        return err;
    if (deadline <= PLAIT_NOW)
        return plait__queue_not_waiting();
    return sleep_until_told(q, &zeros, deadline);
}

size_t plait_queue_unfinished(const plait_queue_t *q)
{
    return q->ledger ? plait__ledger_unfinished(q) : 0;
}
