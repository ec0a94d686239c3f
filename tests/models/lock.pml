/* SPDX-License-Identifier: MIT */
/*
 * The private lock of lib/sync/lock.c: ALONE, WANTED, WAKING and the count of waiters in one word, the release that subtracts
 * ALONE and may meet a new waiter, and the kernel's futex queue.
 *
 * Three threads acquire and release twice each; one of them gives up whenever it likes, asleep or just woken. Checked over
 * all interleavings: one holder at a time, the word ends as 0, and everybody comes to an end, so no wake is lost.
 * (An end state in which somebody sleeps is an "invalid end state" to spin.) Every access to the word is one
 * atomic step; between two of them anything may happen.
 */
#define THREADS 3
#define ROUNDS 2

#define ALONE 1
#define WANTED 2
#define WAKING 4
#define WAITER 8
#define IS_HELD(v) (((v) & 3) != 0)
#define IS_WAKING(v) (((v) & WAKING) != 0)
#define NOT_WAKING(v) ((v) & 27)
#define NOT_HELD(v) ((v) & 28)
/* Free -> held: WANTED if others wait, else ALONE. */
#define TAKEN(v) ((v) | ((v) < WAITER -> ALONE : WANTED))
/* One waiter more on a held lock. */
#define COUNTED(v) (((v) < WAITER -> NOT_HELD(v) | WANTED : (v)) + WAITER)

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
    byte v, round;
    bool counted, failed, got;

again:
    if
    :: round == ROUNDS -> goto end
    :: else -> round++
    fi;
    counted = false; failed = false; got = false;

    v = word;
    do                                              /* take(false), or count oneself */
    :: !IS_HELD(v) ->
        atomic { if :: word == v -> word = TAKEN(v); got = true; break :: else -> v = word fi }
    :: IS_HELD(v) ->
        atomic { if :: word == v -> word = COUNTED(v); v = word; counted = true; break :: else -> v = word fi }
    od;

    do
    :: got -> break
    :: counted && !got ->
        if
        :: !IS_HELD(v) ->                           /* take(true) */
            atomic {
                if
                :: word == v -> word = TAKEN(NOT_WAKING(v - WAITER)); got = true
                :: else -> v = word
                fi
            }
        :: IS_HELD(v) && failed ->                  /* give_up */
            atomic {
                if
                :: word == v -> word = NOT_WAKING(v - WAITER); goto again
                :: else -> v = word
                fi
            }
        :: IS_HELD(v) && !failed && IS_WAKING(v) -> /* settle */
            atomic { if :: word == v -> word = NOT_WAKING(v); v = word :: else -> v = word fi }
        :: IS_HELD(v) && !failed && !IS_WAKING(v) ->
            atomic { if :: word == v -> asleep[me] = true :: else fi }   /* futex wait compares and sleeps */
            if
            :: !asleep[me]                          /* woken, or never asleep */
            :: gives_up -> atomic { asleep[me] = false; failed = true }  /* the deadline */
            :: gives_up && !asleep[me] -> failed = true                  /* a token, having consumed a wake */
            fi;
            v = word
        fi
    od;

    holders++;
    assert(holders == 1);
    holders--;

    if                                              /* release, inlined */
    :: word == ALONE ->
        atomic {
            word = word - ALONE;
            if
            :: word == 0 -> goto again
            :: else                                 /* a waiter came in between: still held */
            fi
        }
    :: else
    fi;
    v = word;
    do                                              /* the slow release */
    :: atomic {
            assert(IS_HELD(word));
            if
            :: word == v && v >= WAITER && !IS_WAKING(v) -> word = NOT_HELD(v) | WAKING; break
            :: word == v && !(v >= WAITER && !IS_WAKING(v)) -> word = NOT_HELD(v); goto again
            :: else -> v = word
            fi
        }
    od;
    wake_one();
    goto again;
end:
    skip
}

init {
    atomic { run thread(0, false); run thread(1, false); run thread(2, true) }
    _nr_pr == 1;
    assert(word == 0)
}
