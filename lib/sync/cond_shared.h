/* SPDX-License-Identifier: MIT */
/* The shared condition, whose waiters are holds of participants. */
#ifndef PLAIT_SYNC_COND_SHARED_H
#define PLAIT_SYNC_COND_SHARED_H

#include <stdbool.h>

#include <plait/cond.h>

#include "sync/held.h"

/* The last step of init. */
void plait__cond_shared_init(plait_cond_t *cond);

int plait__cond_shared_wait(plait_cond_t *cond, const struct plait__held *held, plait_time_t deadline);
int plait__cond_shared_notify(plait_cond_t *cond, unsigned count);
int plait__cond_shared_fini(plait_cond_t *cond);

/* After fini's EBUSY: does anybody wait who has not been notified? Else all are on their way out. */
bool plait__cond_shared_is_awaited(plait_cond_t *cond);

#endif
