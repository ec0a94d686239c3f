/* SPDX-License-Identifier: MIT */
/* Figures, as hooked calls count them. */
#ifndef PLAIT_SYNC_STATS_H
#define PLAIT_SYNC_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/stats.h>

struct plait__figures;

/* The figures of an object that this process watches, or NULL. One load where none is watched. */
struct plait__figures *plait__figures_of(const void *object);

/* Count a call: what it answered, whether it found the object taken, and how long it waited. */
void plait__figures_count(struct plait__figures *figures, int err, bool contended, plait_time_t waited);

#endif
