/* SPDX-License-Identifier: MIT */
/*
 * The private lock of lib/sync/lock.c: FREE, HELD or WANTED in one word, and the kernel's futex queue.
 *
 * Three threads acquire and release twice each; one of them gives up whenever it likes, asleep or just woken. Checked over
 * all interleavings: one holder at a time, and everybody comes to an end, so no wake is lost. (An end state in which
 * somebody sleeps is an "invalid end state" to spin.) Every access to the word is one atomic step; between two of
 * them anything may happen.
 */
#define THREADS 3
#define ROUNDS 2

#define FREE 0
#define HELD 1
#define WANTED 2

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

proctype thread(byte me; bool gives_up)
{
    byte v, old, round;
    bool failed, got;

again:
    if
    :: round == ROUNDS -> goto end
    :: else -> round++
    fi;
    failed = false; got = false;

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
    :: !got && v == HELD ->
        atomic { if :: word == v -> word = WANTED; v = WANTED :: else -> v = word fi }
    :: !got && v == WANTED && failed -> goto again
    :: !got && v == WANTED && !failed ->
        atomic { if :: word == WANTED -> asleep[me] = true :: else fi }  /* futex wait compares and sleeps */
        if
        :: !asleep[me]                              /* woken, or never asleep */
        :: gives_up -> atomic { asleep[me] = false; failed = true }      /* the deadline */
        :: gives_up && !asleep[me] -> failed = true                      /* a token, having consumed a wake */
        fi;
        v = word
    od;

    holders++;
    assert(holders == 1);
    holders--;

    if                                              /* release, inlined */
    :: atomic { word == HELD -> word = FREE; goto again }
    :: else
    fi;
    atomic { old = word; word = FREE };             /* the slow release */
    assert(old != FREE);
    if
    :: old == WANTED -> old = 0; wake_one()
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
