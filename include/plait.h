/* SPDX-License-Identifier: MIT */
/* All of libplait: each header is complete alone, this one includes them all. */
#ifndef PLAIT_H
#define PLAIT_H

#include <plait/export.h>
#include <plait/version.h>
#include <plait/error.h>
#include <plait/time.h>
#include <plait/wait.h>
#include <plait/wait_any.h>
#include <plait/cancel.h>
#include <plait/lock.h>
#include <plait/rlock.h>
#include <plait/sem.h>
#include <plait/event.h>
#include <plait/cond.h>
#include <plait/rwlock.h>
#include <plait/barrier.h>
#include <plait/once.h>
#include <plait/latch.h>
#include <plait/wait_group.h>
#include <plait/arena.h>
#include <plait/debug.h>
#include <plait/stats.h>
#include <plait/queue.h>
#include <plait/pipe.h>
#include <plait/dict.h>
#include <plait/list.h>
#include <plait/latest.h>
#include <plait/broadcast.h>
#include <plait/array.h>
#include <plait/value.h>
#include <plait/init.h>
#include <plait/thread.h>
#include <plait/local.h>
#include <plait/signal.h>
#include <plait/process.h>
#include <plait/future.h>
#include <plait/promise.h>
#include <plait/as_completed.h>
#include <plait/group.h>
#include <plait/pool.h>
#include <plait/imap.h>
#include <plait/map.h>
#include <plait/crew.h>
#include <plait/watch.h>
#include <plait/timer.h>
#include <plait/progress.h>

#endif
