/* SPDX-License-Identifier: MIT */
/*
 * Models lib/wait/brief.h: a robust lock that is held for a few instructions, of which the kernel knows by the thread's `pending` word alone.
 * One mortal thread takes lock 0 so, twice; once a signal handler interrupts it, before or after any step, and takes lock 1, as
 * plait__robust_acquire does (it enters the list, and `pending` is put back) or briefly, or finds it held and leaves. The thread may die at any step
 * of both, and the kernel does with the list and with `pending` what it does. Two others, who do not die, take either lock as
 * plait__robust_acquire does: they sleep if it is held, and who has slept says that others may. Each step is one access.
 *
 * A slice of time ends a sleep only once the thread is dead (a wake of its can be lost if somebody came between its exchange and its death),
 * and of a lock that it has still, only by the mark that the look makes (doubt in robust.c). All other sleeps have to be ended by a wake.
 *
 * Claims: one holder at a time; who gets a lock that was left half changed is told; the kernel finds the brief lock of the dead, unless
 * `pending` named the handler's just then, and the handler's always; and everybody comes to an end.
 *
 * That the model would see it: without the look of a slice (BROKEN 1), with a lock that is announced after it was taken (BROKEN 2) or no more
 * before it is given back (BROKEN 3), and with a handler that clears `pending` in place of putting it back (BROKEN 4), it finds an error:
 *
 *     spin -DBROKEN=1 -a brief.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define MORTAL 1
#define NONE 2 /* no lock */

byte owner[2];                  /* the words: who, and two bits */
bool waiters[2], died[2];
byte pending = NONE;            /* the mortal thread's */
bool listed[2];
bool dead;

byte sleeps[2] = NONE;          /* the two others: for which lock */
byte inside[2];                 /* ghosts: how many who live have it, and is it half changed */
bool half[2];

inline wake_one(lock)
{
    if
    :: sleeps[0] == lock -> sleeps[0] = NONE
    :: sleeps[1] == lock -> sleeps[1] = NONE
    :: sleeps[0] != lock && sleeps[1] != lock
    fi
}

/* What the kernel does with an entry of the dead. */
inline bury(lock)
{
    if
    :: owner[lock] == MORTAL ->
        owner[lock] = 0;
        died[lock] = true;
        if
        :: waiters[lock] -> wake_one(lock)
        :: else
        fi
    :: pending == lock && owner[lock] == 0 && !waiters[lock] && !died[lock] -> wake_one(lock)
    :: else
    fi
}

/* Compare 0 and swap. */
inline take(lock)
{
    atomic {
        got = (owner[lock] == 0 && !waiters[lock] && !died[lock]);
        if
        :: got -> owner[lock] = MORTAL; inside[lock]++; assert(inside[lock] == 1 && !half[lock])
        :: else
        fi
    }
}

inline give(lock)
{
    atomic {
        assert(owner[lock] == MORTAL && !half[lock]);
        inside[lock]--;
        slept = waiters[lock];
        owner[lock] = 0;
        waiters[lock] = false
    };
    may_die();
    if
    :: slept -> atomic { wake_one(lock) }
    :: else
    fi;
    may_die()
}

inline change(lock)
{
    half[lock] = true;
    may_die();
    half[lock] = false;
    may_die()
}

inline may_die()
{
    if
    :: goto die
    :: true
    fi
}

/* pending = value, by the handler when it is through with something. */
inline put_back()
{
    pending = (BROKEN == 4 -> NONE : saved);
    may_die()
}

inline may_be_interrupted()
{
    if
    :: interrupted
    :: !interrupted ->
        interrupted = true;
        saved = pending;
        pending = 1;
        may_die();
        take(1);
        may_die();
        if
        :: !got -> put_back()
        :: got -> /* briefly */
            change(1);
            give(1);
            put_back()
        :: got -> /* in the list meanwhile */
            listed[1] = true;
            may_die();
            put_back();
            change(1);
            pending = 1;
            may_die();
            listed[1] = false;
            may_die();
            give(1);
            put_back()
        fi
    :: true
    fi
}

proctype mortal()
{
    bool interrupted, got, has, slept;
    byte saved = NONE, round;

    do
    :: round == 2 -> break
    :: round < 2 ->
        round++;
        if
        :: BROKEN != 2 -> pending = 0
        :: else
        fi;
        may_die();
        may_be_interrupted();
        take(0);
        has = got;
        may_die();
        may_be_interrupted();
        if
        :: has ->
            pending = 0;
            half[0] = true;
            may_die();
            may_be_interrupted();
            half[0] = false;
            may_die();
            may_be_interrupted();
            if
            :: BROKEN == 3 -> pending = NONE; may_die()
            :: else
            fi;
            give(0);
            may_be_interrupted()
        :: else
        fi;
        pending = NONE;
        may_die();
        may_be_interrupted()
    od;
    goto end;
die:
    atomic {
        dead = true;
        if
        :: owner[0] == MORTAL -> inside[0]--
        :: else
        fi;
        if
        :: owner[1] == MORTAL -> inside[1]--
        :: else
        fi;
        if
        :: pending == 0 -> bury(0)
        :: else
        fi;
        if
        :: pending == 1 || listed[1] -> bury(1)
        :: else
        fi;
        assert(owner[0] != MORTAL || pending == 1);
        assert(owner[1] != MORTAL)
    }
end:
    skip
}

/* Each for one lock, or the other, twice. */
proctype other(byte me)
{
    byte lock, round;
    bool slept, told;

    do
    :: round == 2 -> break
    :: round < 2 ->
        round++;
        if
        :: lock = 0
        :: lock = 1
        fi;
        slept = false;
        do
        :: atomic { owner[lock] == 0 ->
                    told = died[lock];
                    owner[lock] = 2 + me;
                    waiters[lock] = waiters[lock] || slept;
                    died[lock] = false;
                    inside[lock]++;
                    assert(inside[lock] == 1 && (told || !half[lock])) }
            break
        :: atomic { owner[lock] != 0 -> waiters[lock] = true; sleeps[me] = lock }
            slept = true;
            if
            :: sleeps[me] == NONE
            :: atomic { dead && owner[lock] == MORTAL && BROKEN != 1 ->
                        sleeps[me] = NONE; owner[lock] = 0; died[lock] = true }
            :: atomic { dead && owner[lock] != MORTAL && sleeps[me] != NONE -> sleeps[me] = NONE }
            fi
        od;
        half[lock] = false;
        atomic {
            inside[lock]--;
            owner[lock] = 0;
            slept = waiters[lock];
            waiters[lock] = false
        };
        if
        :: slept -> atomic { wake_one(lock) }
        :: else
        fi
    od
}

init {
    atomic { run mortal(); run other(0); run other(1) }
}
