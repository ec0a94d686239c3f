/* SPDX-License-Identifier: MIT */
/* The peers that may be missing: weak, so what was not compiled is NULL here, and absent in the table. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_PEER __attribute__((weak))

/* The names say who and what; the load's fields mean what the metric says. */
BENCH_PEER bench_run nsync_free, nsync_contended, nsync_turns, nsync_turns_noted, nsync_crowd, nsync_note_set, nsync_onced,
    nsync_count_down, nsync_count_up_and_down;
BENCH_PEER bench_run nsync_free_read, nsync_reading, absl_free_read, absl_reading;
BENCH_PEER bench_run boost_free_read, boost_free_write, boost_reading;
BENCH_PEER bench_run glib_queue, glib_sized, glib_queue_pairs, glib_message_pairs, glib_tasks, glib_dict_get, glib_dict_set,
    glib_list_append, glib_list_get, glib_list_move, glib_spread;
BENCH_PEER bench_run uv_tasks, uv_add_and_cancel, uv_move, uv_late;
BENCH_PEER bench_run ev_add_and_cancel, ev_move, ev_late;
BENCH_PEER bench_run absl_free, absl_contended, absl_turns, absl_notified, absl_count_down;
BENCH_PEER bench_run tbb_queue_bounded, tbb_queue_unbounded, tbb_tasks, tbb_heap, tbb_heap_of_numbers;
BENCH_PEER bench_run tbb_fibs, tbb_fibs_invoked, tbb_queens, tbb_trees, tbb_regions, tbb_scales, tbb_unevens, tbb_sums;
BENCH_PEER bench_run moodycamel_queue, moodycamel_queue_tokens, moodycamel_sized;
BENCH_PEER bench_run boost_progress; /* for one thread: its counter is a plain one */
BENCH_PEER bench_run boost_message_queue, boost_message_pairs, boost_managed_memory, boost_spread, boost_sized;

#ifdef __cplusplus
}
#endif

#endif
