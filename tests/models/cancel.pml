/* SPDX-License-Identifier: MIT */
/*
 * A token of lib/wait/cancel.c: its word and its deadline.
 *
 * The clock stands at 0 and goes on to 1 and 2. The token has the deadline 1 or none; a giver moves it to 2, takes it
 * away or brings it to 1; a canceller sets it; a waiter sleeps on the word until the deadline that it has read. Either
 * of the two may die at any step. Over all interleavings: once somebody has seen the token set it stays set, with the
 * same reason; the waiter is never left asleep; and a deadline that was replaced, its giver being told so, sets nothing.
 */
#define SET 1
#define EXPIRED 2
#define ROUND 4
#define NEVER 3

byte word;      /* SET, EXPIRED; above: rounds */
byte deadline;  /* NEVER: none */
byte now;
bool asleep;    /* in the kernel */
byte until;     /* what the sleeper told it */
bool ended;     /* the waiter has seen it set */
byte promised;  /* the deadline whose giver was told that it counts */
bool set_died, give_died;
byte first;     /* the word as it was first seen set */

/* Somebody looks: the token is set, or gets so; `over` tells. v: the word as read before the deadline was. */
inline look(v, d, over)
{
    over = false;
    atomic { v = word; known = first }
    do
    :: v & SET -> over = true; break
    :: else ->
        d = deadline;
        if
        :: d > now -> break
        :: else ->
            atomic {
                if
                :: word == v ->
                    assert(promised == 0 || now >= promised);
                    word = SET | EXPIRED; v = word; over = true
                :: else -> v = word
                fi
            }
            if
            :: over -> break
            :: else
            fi
        fi
    od;
    assert(known == 0 || (over && v == known));
    if
    :: over -> first = v
    :: else
    fi
}

inline wake()
{
    asleep = false
}

/* The kernel: compare and sleep are one step; wakes come by themselves at the time told. */
proctype waiter()
{
    byte v, d, known;
    bool over;

    do
    :: look(v, d, over);
        if
        :: over -> break
        :: else
        fi;
        atomic {
            if
            :: word == v -> asleep = true; until = d
            :: else
            fi
        }
        if
        :: !asleep
        :: asleep && now >= until -> asleep = false
        :: (set_died || give_died) && asleep -> asleep = false /* a slice is over */
        fi
    od;
    ended = true
}

proctype canceller(bool dies)
{
    byte v, d, known;
    bool over;

    if
    :: dies -> set_died = true; goto end
    :: true
    fi;
    do
    :: look(v, d, over);
        if
        :: over -> break
        :: else
        fi;
        atomic {
            if
            :: word == v -> word = SET; break
            :: else
            fi
        }
    od;
    if
    :: dies -> set_died = true; goto end
    :: true
    fi;
    wake();
end:
    skip
}

proctype giver(byte given; bool dies)
{
    byte v, d, known;
    bool over;

    do
    :: look(v, d, over);
        if
        :: over -> goto end
        :: else
        fi;
        deadline = given;
        if
        :: dies -> give_died = true; goto end
        :: true
        fi;
        atomic {
            if
            :: word == v -> word = v + ROUND; promised = given; break
            :: else
            fi
        }
    od;
    if
    :: dies -> give_died = true; goto end
    :: true
    fi;
    wake();
end:
    skip
}

proctype clock()
{
    now = 1;
    now = 2
}

init {
    bool dies;

    atomic {
        if
        :: deadline = 1
        :: deadline = NEVER
        fi;
        if
        :: dies = true
        :: dies = false
        fi;
        run waiter();
        run clock();
        if
        :: run giver(1, dies)
        :: run giver(2, dies)
        :: run giver(NEVER, dies); run canceller(false)
        :: run giver(2, false); run canceller(dies); deadline = 1
        fi
    }
    _nr_pr == 1;
    assert(ended && (word & SET))
}
