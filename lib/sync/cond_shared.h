/* SPDX-License-Identifier: MIT */
/* The shared condition, whose waiters are slots of the participants' table. */
#ifndef PLAIT_SYNC_COND_SHARED_H
#define PLAIT_SYNC_COND_SHARED_H

#include <plait/cond.h>

#include "sync/held.h"

int plait__cond_shared_wait(plait_cond_t *cond, const struct plait__held *held, plait_time_t deadline);
int plait__cond_shared_notify(plait_cond_t *cond, unsigned count);
int plait__cond_shared_fini(plait_cond_t *cond);

#endif
