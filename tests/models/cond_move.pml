/* SPDX-License-Identifier: MIT */
/*
 * The private condition of lib/sync/cond.c with the lock of lib/sync/lock.c: a notifier moves sleepers from their own words to the
 * lock's, and looks at the lock afterwards (plait__lock_adopt). FREE, HELD and WANTED are the lock's word; a thread's `on`
 * says on which of the two words it sleeps.
 *
 * Three wait, each with the lock; one of them may run out of time. One notifies all, with the lock or without it. Over all
 * interleavings: one holder at a time, everybody comes to an end, so none who was moved is forgotten; nobody returns while the
 * notifier still uses the record or the lock. The guard is a lock of which only the exclusion matters here.
 */
#define WAITERS 3
#define NOTIFIER 3

#define FREE 0
#define HELD 1
#define WANTED 2

#define WAITING 0  /* spins: neither woken nor moved */
#define ASLEEP 1   /* or about to be */
#define NOTIFIED 2
#define MOVED 3

#define NOTHING 0
#define OWN 1
#define LOCKS 2

byte lock;
byte holders;
bool guard;
bool listed[WAITERS];
byte word[WAITERS];
byte on[WAITERS + 1];    /* where one sleeps */
bool returned[WAITERS];  /* its frame is gone */
byte arrived;

/* FUTEX_WAKE of one on the lock's word: any. */
inline wake_on_lock()
{
    atomic {
        if
        :: on[0] == LOCKS -> on[0] = NOTHING
        :: on[1] == LOCKS -> on[1] = NOTHING
        :: on[2] == LOCKS -> on[2] = NOTHING
        :: on[3] == LOCKS -> on[3] = NOTHING
        :: on[0] != LOCKS && on[1] != LOCKS && on[2] != LOCKS && on[3] != LOCKS
        fi
    }
}

/* Acquire as HELD if that goes at once, else as one who has slept: sleep_for_it. `as_moved`: the latter from the start. */
inline acquire(as_moved)
{
    got = false;
    if
    :: !as_moved -> atomic { if :: lock == FREE -> lock = HELD; got = true :: else fi }
    :: else
    fi;
    do
    :: got -> break
    :: !got ->
        if
        :: atomic { lock == FREE -> lock = WANTED; got = true }
        :: atomic { lock == HELD -> lock = WANTED }
        :: atomic { lock == WANTED -> on[me] = LOCKS };
           on[me] == NOTHING
        fi
    od;
    holders++;
    assert(holders == 1)
}

inline release()
{
    holders--;
    atomic { v = lock; lock = FREE };
    if
    :: v == WANTED -> wake_on_lock()
    :: else
    fi
}

proctype waiter(byte me; bool impatient)
{
    byte v;
    bool got, late;

    acquire(false);
    atomic { !guard -> guard = true };
    listed[me] = true;
    arrived++;
    guard = false;
    release();

    atomic { if :: word[me] == WAITING -> word[me] = ASLEEP :: else fi };
    do
    :: word[me] >= NOTIFIED || late -> break
    :: word[me] == ASLEEP && !late ->
        atomic { if :: word[me] == ASLEEP -> on[me] = OWN :: else fi };
        if
        :: on[me] == NOTHING
        :: impatient -> atomic { on[me] = NOTHING; late = true } /* the deadline, wherever it sleeps by now */
        fi
    od;

    atomic { !guard -> guard = true };
    listed[me] = false;
    guard = false;
    acquire(word[me] == MOVED);
    release();
    returned[me] = true
}

proctype notifier(bool under_lock)
{
    byte me = NOTIFIER;
    byte v, w;
    bool got, moved;

    arrived == WAITERS;
    if
    :: under_lock -> acquire(false)
    :: else
    fi;
    atomic { !guard -> guard = true };
    w = 0;
    do
    :: w == WAITERS -> break
    :: w < WAITERS && !listed[w] -> w++
    :: w < WAITERS && listed[w] ->
        assert(!returned[w]);
        listed[w] = false;
        if
        :: word[w] == ASLEEP ->
            word[w] = MOVED;
            moved = true;
            atomic { if :: on[w] == OWN -> on[w] = LOCKS :: else fi } /* FUTEX_CMP_REQUEUE */
        :: word[w] == WAITING ->
            atomic { v = word[w]; word[w] = NOTIFIED };
            if
            :: v == ASLEEP -> atomic { if :: on[w] == OWN -> on[w] = NOTHING :: else fi } /* FUTEX_WAKE */
            :: else
            fi
        fi;
        w++
    od;
    if
    :: moved ->                                     /* adopt */
        assert(!returned[0] || !returned[1] || !returned[2]);
        v = lock;
        do
        :: v == HELD -> atomic { if :: lock == HELD -> lock = WANTED; break :: else -> v = lock fi }
        :: v == WANTED -> break
        :: v == FREE -> wake_on_lock(); break
        od
    :: else
    fi;
    guard = false;
    if
    :: under_lock -> release()
    :: else
    fi
}

init {
    atomic {
        run waiter(0, false);
        run waiter(1, false);
        run waiter(2, true);
        if
        :: run notifier(true)
        :: run notifier(false)
        fi
    }
    _nr_pr == 1;
    assert(lock == FREE || lock == WANTED)
}
