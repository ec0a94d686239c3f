/* SPDX-License-Identifier: MIT */
/*
 * Models lib/sync/asym_lock.c: three threads take the lock and give it back, one of them three times; one runs out of time once, having been woken or
 * not. A plain release is a store that may be late: it lies in the thread's buffer until it is written, by itself at any time, before any
 * read-modify-write of that thread, or by the fence that a sleeper asks for in all threads, one after the other. A careful one is an exchange; the
 * count of those is changed before it, or, to others, with it. Each other step is one access. A lock stays careful for two releases.
 *
 * Claims: one holder at a time; and nobody sleeps for ever.
 *
 * That the model would see it: without the fence (BROKEN 1), with one who has slept and has the lock, and does not say that others sleep
 * (BROKEN 2), with a sleeper that does not look at `held` again (BROKEN 3), and with a plain release that takes the count to 0 (BROKEN 4), it finds an
 * error:
 *
 *     spin -DBROKEN=1 -a asym_lock.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define THREADS 3
#define CAREFUL 2

bool held, wanted;
byte careful, sleepers;
bool late[THREADS];   /* a store of 0 into `held` is in the buffer */
#if BROKEN == 4
bool count_too[THREADS]; /* and before it one of 0 into `careful` */
#endif
bool asleep[THREADS];
byte inside;          /* a ghost */

inline write(thread)
{
    if
    :: late[thread] ->
        late[thread] = false;
#if BROKEN == 4
        if
        :: count_too[thread] -> count_too[thread] = false; careful = 0
        :: else
        fi;
#endif
        held = false
    :: else
    fi
}

inline fence()
{
    atomic { write(0) };
    atomic { write(1) };
    atomic { write(2) }
}

/* A compare-and-swap; `have` tells. */
inline try()
{
    d_step {
        write(self);
        have = !held;
        held = true
    }
}

inline wake_one()
{
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: !asleep[0] && !asleep[1] && !asleep[2]
    fi
}

inline want()
{
    atomic { write(self); wanted = true };
    if
    :: careful || BROKEN == 1
    :: else -> fence()
    fi
}

/* `have`: it has slept, or was about to. */
inline end_of_sleep()
{
    atomic { write(self); sleepers--; count = sleepers };
    if
    :: have && count && BROKEN != 2 -> wanted = true
    :: else
    fi
}

inline release()
{
    count = careful;
    if
    :: wanted -> count = CAREFUL + 1
    :: else
    fi;
    if
    :: count == 0 -> late[self] = true
#if BROKEN == 4
    :: count == 1 -> atomic { late[self] = true; count_too[self] = true }
#endif
    :: count > (BROKEN == 4) ->
        if
        :: careful = count - 1; atomic { write(self); held = false }
        :: atomic { write(self); careful = count - 1; held = false }
        fi
    fi;
    seen = wanted;
    if
    :: seen ->
        atomic { write(self); seen = wanted; wanted = false };
        if
        :: seen -> atomic { wake_one() }
        :: else
        fi
    :: else
    fi
}

proctype buffer(byte self)
{
end:
    do
    :: atomic { late[self] -> write(self) }
    od
}

proctype thread(byte self; byte times; bool impatient)
{
    bool have, seen, gives_up;
    byte count;

    do
    :: times == 0 -> break
    :: else ->
        times--;
        try();
        if
        :: have -> goto inside_it
        :: else
        fi;
        atomic { write(self); sleepers++ };
        do
        :: have -> break
        :: else ->
            want();
            if
            :: BROKEN == 3
            :: else -> try()
            fi;
            if
            :: have -> break
            :: else
            fi;
            atomic {
                if
                :: wanted -> asleep[self] = true
                :: else
                fi
            };
            if
            :: atomic { !asleep[self] }
            :: atomic { impatient && asleep[self] -> asleep[self] = false; impatient = false; gives_up = true }
            fi;
            try();
            if
            :: gives_up && !have -> break
            :: else
            fi
        od;
        gives_up = false;
        end_of_sleep();
        if
        :: have
        :: else -> goto next
        fi;
inside_it:
        inside++;
        assert(inside == 1);
        inside--;
        release();
next:   have = false
    od
}

init
{
    atomic {
        run buffer(0);
        run buffer(1);
        run buffer(2);
        run thread(0, 3, false);
        run thread(1, 2, true);
        run thread(2, 1, false)
    }
}
