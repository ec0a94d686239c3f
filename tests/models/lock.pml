/* SPDX-License-Identifier: MIT */
/*
 * The private lock of lib/sync/lock.c: HELD, WAKING and the count of waiters in one word, and the kernel's futex queue.
 *
 * Three threads acquire and release twice each; one of them gives up whenever it likes, asleep or just woken. Checked over
 * all interleavings: one holder at a time, the word ends as 0, and everybody comes to an end, so no wake is lost.
 * (An end state in which somebody sleeps is an "invalid end state" to spin.) Every access to the word is one
 * atomic step; between two of them anything may happen.
 */
#define THREADS 3
#define ROUNDS 2

#define HELD 1
#define WAKING 2
#define WAITER 4
#define IS_HELD(v) ((v) & HELD)
#define IS_WAKING(v) (((v) & WAKING) != 0)
#define NOT_WAKING(v) ((v) & 13)

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
        atomic { if :: word == v -> word = v | HELD; got = true; break :: else -> v = word fi }
    :: IS_HELD(v) ->
        atomic { if :: word == v -> word = v + WAITER; v = word; counted = true; break :: else -> v = word fi }
    od;

    do
    :: got -> break
    :: counted && !got ->
        if
        :: !IS_HELD(v) ->                           /* take(true) */
            atomic {
                if
                :: word == v -> word = NOT_WAKING((v | HELD) - WAITER); got = true
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

    v = word;
    do                                              /* release */
    :: atomic {
            assert(IS_HELD(word));
            if
            :: word == v && v >= WAITER && !IS_WAKING(v) -> word = (v - HELD) | WAKING; break
            :: word == v && !(v >= WAITER && !IS_WAKING(v)) -> word = v - HELD; goto again
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
    assert((word & (HELD | 12)) == 0)
}
