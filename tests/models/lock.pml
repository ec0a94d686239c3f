/* SPDX-License-Identifier: MIT */
/*
 * The private lock of lib/sync/lock.c: FREE, HELD, WANTED, OWED or HANDED in one word, and the kernel's futex queue.
 *
 * Three threads acquire and release twice each; one of them gives up whenever it likes, asleep or just woken; each may
 * come to starve whenever it was woken. Nobody counts on the time after which a lock that is HANDED is anybody's. Checked over all
 * interleavings: one holder at a time, and everybody comes to an end, so no wake is lost. (An end state in which
 * somebody sleeps is an "invalid end state" to spin.) Every access to the word is one atomic step; between two of
 * them anything may happen.
 */
#define THREADS 3
#define ROUNDS 2

#define FREE 0
#define HELD 1
#define WANTED 2
#define OWED 3
#define HANDED 4
#define IS_HELD(v) ((v) >= HELD && (v) <= OWED)

byte word;
byte holders;
bool asleep[THREADS];

/* FUTEX_WAKE of one: any sleeper, as time-outs have changed the queue's order anyhow. */
inline wake_one()
{
    atomic {
        if
        :: asleep[0] -> asleep[0] = false
        :: asleep[1] -> asleep[1] = false
        :: asleep[2] -> asleep[2] = false
        :: !asleep[0] && !asleep[1] && !asleep[2]
        fi
    }
}

/* Futex wait compares and sleeps, until a wake, the deadline, or a token, which may have consumed a wake. */
inline nap(expected)
{
    atomic { if :: word == expected -> asleep[me] = true :: else fi }
    if
    :: !asleep[me]
    :: gives_up -> atomic { asleep[me] = false; failed = true }
    :: gives_up && !asleep[me] -> failed = true
    fi
}

proctype thread(byte me; bool gives_up)
{
    byte v, old, round, marked;
    bool failed, got, slept, starving;

again:
    if
    :: round == ROUNDS -> goto end
    :: else -> round++
    fi;
    failed = false; got = false; slept = false; starving = false;

    if                                              /* the inlined exchange, and all looks of a spin, may fail */
    :: atomic { word == FREE -> word = HELD; got = true }
    :: true
    fi;
    if
    :: !got -> v = word
    :: else
    fi;

    do                                              /* sleep_for_it */
    :: got -> break
    :: !got && v == FREE ->
        atomic { if :: word == v -> word = WANTED; got = true :: else -> v = word fi }
    :: !got && v == HANDED && slept ->
        atomic { if :: word == v -> word = (starving -> WANTED : OWED); got = true :: else -> v = word fi }
    :: !got && v == HANDED && !slept ->
        nap(HANDED); slept = true; v = word
    :: !got && IS_HELD(v) ->                        /* mark, leave or sleep */
        if
        :: starving -> marked = (failed -> WANTED : OWED)
        :: else -> marked = (v == OWED -> OWED : WANTED)
        fi;
        atomic {
            if
            :: word == v -> word = marked; v = marked; marked = 1
            :: else -> v = word; marked = 0
            fi
        }
        if
        :: !marked
        :: marked && failed -> marked = 0; goto again
        :: marked && !failed -> marked = 0; nap(v); slept = true; if :: starving = true :: true fi; v = word
        fi
    od;

    holders++;
    assert(holders == 1);
    holders--;

    if                                              /* release, inlined */
    :: atomic { word == HELD -> word = FREE; goto again }
    :: else
    fi;
    atomic { old = word; word = (old == OWED -> HANDED : FREE) };        /* the slow release */
    assert(IS_HELD(old));
    if
    :: old != HELD -> old = 0; wake_one()
    :: else -> old = 0
    fi;
    goto again;
end:
    skip
}

init {
    atomic { run thread(0, false); run thread(1, false); run thread(2, true) }
    _nr_pr == 1;
    assert(word == FREE)
}
