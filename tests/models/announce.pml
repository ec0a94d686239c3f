/* SPDX-License-Identifier: MIT */
/*
 * Models E3 of lib/queue/queue.c for private queues: as eventcount.pml, but the putter has no barrier between its step and its look at the event
 * count. What it stores, the item and then the release of the side's lock, lies in its buffer until it is written, by itself at any time, or
 * before a compare-and-exchange of its. Getters that have announced themselves make an operation on the lock that finds it free
 * (plait__asym_pass), and then look. A step of a getter is atomic here. Claim: when nothing moves any more, nobody sleeps beside an item.
 *
 * That the model would see it: without that operation before a sleep (BROKEN 1), and without it after one (BROKEN 2), it finds an error:
 *
 *     spin -DBROKEN=1 -a announce.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define GETTERS 3
#define NOBODY 2 /* who has no buffer */

byte items;          /* what the cells say */
bool held;           /* the put side's lock */
byte late[2];        /* stores in a putter's buffer: 2 the item and the release, 1 the release */
bool flag;           /* SLEEPERS */
byte round;          /* modulo 8: more than the signals there can be between a prepare and its sleep */
byte sleepers;
bool asleep[GETTERS];
byte got;

/* FUTEX_WAKE of one, whichever. */
inline wake_one() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: else
    fi
}

inline write_all() {
    if
    :: self == NOBODY || late[self] == 0
    :: else ->
        if
        :: late[self] == 2 -> items++
        :: else
        fi;
        late[self] = 0;
        held = false
    fi
}

inline pass() { atomic { !held } }

/* A look at the flag; if it is set, a compare-and-exchange that takes it off; then the wake, later. */
inline signal() {
    if
    :: flag ->
        atomic {
            write_all();
            if
            :: flag -> flag = false; round = (round + 1) % 8; won = true
            :: else -> won = false
            fi
        }
        if
        :: won -> atomic { wake_one() }
        :: else
        fi
    :: else
    fi
}

inline attempt() {
    atomic {
        if
        :: items > 0 -> items--; have = true
        :: else -> have = false
        fi
    }
}

proctype putter(byte self) {
    bool won;
    atomic { !held -> held = true };
    late[self] = 2;
    signal()
}

proctype buffer(byte self) {
end:
    do
    :: atomic { late[self] == 2 -> items++; late[self] = 1 }
    :: atomic { late[self] == 1 -> held = false; late[self] = 0 }
    od
}

proctype getter(byte id; bool impatient) {
    bool have, won, others, timed_out;
    byte prepared, self = NOBODY;

    attempt();
    do
    :: have || timed_out -> break
    :: else ->
        sleepers++;
        atomic { flag = true; prepared = round };
        if
        :: BROKEN == 1
        :: else -> pass()
        fi;
        attempt();
        if
        :: have -> sleepers--; break
        :: else
        fi;
        /* futex wait: compares and sleeps in one step */
        atomic {
            if
            :: flag && round == prepared -> asleep[id] = true
            :: else
            fi
        }
endasleep: /* to sleep for ever is right if nothing is left: see init */
        if
        :: !asleep[id] -> skip
        :: impatient && asleep[id] -> /* the time is up, unless a wake comes first */
            atomic {
                if
                :: asleep[id] -> asleep[id] = false; timed_out = true
                :: else
                fi
            }
        fi;
        sleepers--;
        attempt();
        /* done: others may sleep on a flag that was taken off for us */
        others = (sleepers > 0);
        if
        :: others ->
            atomic { flag = true };
            if
            :: BROKEN == 2
            :: else -> pass()
            fi;
            if
            :: items > 0 -> signal()
            :: else
            fi
        :: else
        fi
    od;
    if
    :: have -> got++
    :: else
    fi
}

init {
    atomic {
        run getter(0, false);
        run getter(1, false);
        run getter(2, true);
        run buffer(0);
        run buffer(1);
        run putter(0);
        run putter(1)
    }
    /* Nothing can move: then either nothing is left, or nobody sleeps. */
    timeout -> assert(late[0] + late[1] == 0);
    assert(items == 0 || (!asleep[0] && !asleep[1] && !asleep[2]))
}
