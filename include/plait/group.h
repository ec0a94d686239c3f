/* SPDX-License-Identifier: MIT */
/* Group: futures that are waited for, or cancelled, together. */
#ifndef PLAIT_GROUP_H
#define PLAIT_GROUP_H

#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_group_t - a set of futures of any make; one that is done leaves it.
 *
 *     plait_group_t *group;
 *     plait_group_new(&group);
 *     for (size_t i = 0; i < count; i++)
 *         plait_pool_submit(pool, &(struct plait_task_opts){ .fn = check, .arg = &item[i], .arg_size = sizeof item[i], .group = group }, NULL);
 *     if (plait_group_wait(group, plait_after(10)) != 0)
 *         plait_group_cancel(group);
 *     plait_group_free(group);
 *
 * More may be added at any time, also while somebody waits, and by tasks of the group. The group keeps what it needs of a future: its handle
 * may be freed at once. A pool's worker that waits runs pending tasks of its own pool itself, as in plait_future_wait.
 */
typedef struct plait_group plait_group_t;

/* Make an empty group. EINVAL: nowhere to put it. ENOMEM. */
PLAIT_API int plait_group_new(plait_group_t **group_out);

/* Put a future in; one that is in there already counts twice. EINVAL: no future. ENOMEM. */
PLAIT_API int plait_group_add(plait_group_t *group, plait_future_t *future);

/*
 * Wait until all that are in it are done, however that is. 0; ETIMEDOUT; ECANCELED: the caller's token was set; EOWNERDEAD, in a child of fork: all
 * that are left are of a parent's pool. An empty group needs no wait.
 */
PLAIT_API int plait_group_wait(plait_group_t *group, plait_time_t deadline);

/* plait_group_wait as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_group_wait(plait_group_t *group);

/* Cancel all that are in it, as plait_future_cancel does; those that run stay in it until they have ended. Always 0. */
PLAIT_API int plait_group_cancel(plait_group_t *group);

/* How many are in it, not done; and how many have left it that had failed or were cancelled. Others may change it at once. */
PLAIT_API size_t plait_group_count(const plait_group_t *group);
PLAIT_API size_t plait_group_failed(const plait_group_t *group);

/* The code and the text of the first that has failed or was cancelled: 0 and "" if there is none. The text lives as long as the group. */
PLAIT_API int plait_group_error(const plait_group_t *group);
PLAIT_API const char *plait_group_error_text(const plait_group_t *group);

/* Drop it; NULL is allowed. Nobody may be waiting. What is in it goes on. Always 0. */
PLAIT_API int plait_group_free(plait_group_t *group);

PLAIT_END_DECLS

#endif
