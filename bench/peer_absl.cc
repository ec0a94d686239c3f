// SPDX-License-Identifier: MIT
// Abseil: Mutex, CondVar, Notification, BlockingCounter.
#include <absl/synchronization/blocking_counter.h>
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"
#include "reading.h"

namespace {

BENCH_INLINE void acquire(void *mu) { static_cast<absl::Mutex *>(mu)->Lock(); }
BENCH_INLINE void release(void *mu) { static_cast<absl::Mutex *>(mu)->Unlock(); }
BENCH_INLINE void nothing(void *) {}
void member(unsigned, void *contest) { bench_contend(contest, acquire, release); }

BENCH_INLINE void read_acquire(void *mu) { static_cast<absl::Mutex *>(mu)->ReaderLock(); }
BENCH_INLINE void read_release(void *mu) { static_cast<absl::Mutex *>(mu)->ReaderUnlock(); }

const bench_rw rw = { read_acquire, read_release, acquire, release };

void reading_member(unsigned index, void *reading) { bench_read_and_write(index, reading, rw); }

struct table {
    absl::Mutex mu;
    absl::CondVar moved;
    unsigned turn = 0; // guarded by mu
};

BENCH_INLINE void pass(void *object, unsigned me)
{
    table *t = static_cast<table *>(object);

    t->mu.Lock();
    while (t->turn != me)
        t->moved.Wait(&t->mu);
    t->turn = !me;
    t->moved.Signal();
    t->mu.Unlock();
}

void turns_member(unsigned index, void *turns) { bench_take_turns(index, turns, pass); }
BENCH_INLINE void wait_for(void *n) { static_cast<absl::Notification *>(n)->WaitForNotification(); }

BENCH_INLINE void count_down(void *c) { static_cast<absl::BlockingCounter *>(c)->DecrementCount(); }

} // namespace

double absl_free(const bench_load *load)
{
    static absl::Mutex mu;

    return bench_free(load, &mu, acquire, release);
}

double absl_contended(const bench_load *load)
{
    alignas(64) absl::Mutex mu;

    return bench_contest_threads(load, &mu, member);
}

double absl_turns(const bench_load *load)
{
    table t;

    return bench_turns_threads(load, &t, turns_member);
}

double absl_notified(const bench_load *load)
{
    absl::Notification n;

    n.Notify();
    return bench_free(load, &n, wait_for, nothing);
}

double absl_free_read(const bench_load *load)
{
    static absl::Mutex mu;

    return bench_free(load, &mu, read_acquire, read_release);
}

double absl_reading(const bench_load *load)
{
    alignas(64) absl::Mutex mu;

    return bench_reading_run(load, &mu, reading_member, bench_threads);
}

double absl_count_down(const bench_load *load)
{
    static absl::BlockingCounter *counter = new absl::BlockingCounter(0x7fffffff);

    return bench_free(load, counter, count_down, nothing);
}
