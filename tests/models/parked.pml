/* SPDX-License-Identifier: MIT */
/*
 * The table of parked waiters of lib/wait/parked.c: edges E1 (enter, then look; change, then look), E2 (a walker may stand
 * on a node that leaves) and E3 (one waker takes a waiter).
 *
 * Two parkers on the same word and bucket, one of which gives up whenever it likes; two wakers, each of which changes the
 * word and wakes all. Over all interleavings: a parker whose word has changed is woken; nobody is notified twice;
 * no waker touches a node after its parker has got it back. All steps are seq_cst in the source, so the model is
 * interleaving alone.
 */
#define NOBODY 9

byte word;
byte total;
byte first = NOBODY;
byte next[2] = { NOBODY, NOBODY };
bool locked;
byte readers;
bool taken[2];     /* state == UNPARKED */
bool notified[2];
bool alive[2];     /* the node's memory is its parker's frame */

inline leave(me, other)
{
    atomic { !locked -> locked = true }
    if
    :: first == me -> first = next[me]
    :: else -> assert(next[other] == me); next[other] = next[me]
    fi;
    locked = false;
    readers == 0                                    /* E2 */
}

proctype parker(byte me; bool gives_up)
{
    byte other = 1 - me;
    bool spent;

    taken[me] = false; alive[me] = true;
    total++;                                        /* E1 */
    atomic { !locked -> locked = true }
    next[me] = NOBODY;
    if
    :: first == NOBODY -> first = me
    :: else -> next[other] = me
    fi;
    locked = false;
    if
    :: word == 0 && !taken[me] ->                   /* plait__park_still */
        if
        :: notified[me]
        :: gives_up
        fi
    :: else
    fi;
    atomic { spent = taken[me]; taken[me] = true }  /* plait__unpark: E3 */
    leave(me, other);
    total--;
    assert(!spent || notified[me]);                 /* who has taken us has told us, and is gone */
    alive[me] = false
}

proctype waker()
{
    byte n;
    bool mine;

    atomic { word = 1 }                             /* the change */
    if
    :: total == 0 -> goto end                       /* E1 */
    :: else
    fi;
    readers++;
    n = first;
    do
    :: n == NOBODY -> break
    :: else ->
        assert(alive[n]);
        atomic { mine = !taken[n]; taken[n] = true }
        if
        :: mine -> assert(alive[n]); assert(!notified[n]); notified[n] = true
        :: else
        fi;
        assert(alive[n]);
        n = next[n]
    od;
    readers--;
end:
    skip
}

init {
    atomic { run parker(0, false); run parker(1, true); run waker(); run waker() }
    _nr_pr == 1;
    assert(total == 0 && first == NOBODY)
}
