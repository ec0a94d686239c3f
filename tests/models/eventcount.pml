/* SPDX-License-Identifier: MIT */
/*
 * Models lib/wait/eventcount.h as lib/queue/queue.c uses it: getters that find nothing sleep, putters signal, one getter may
 * run out of time after having been woken or not. A step with the side's lock held is atomic here; everything else
 * interleaves. Claim: when nothing moves any more, nobody sleeps beside an item.
 */
#define GETTERS 3

byte items;          /* what the cells say */
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

/* A look at the flag; if it is set, a compare-and-exchange that takes it off; then the wake, later. */
inline signal() {
    if
    :: flag ->
        atomic {
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

proctype putter() {
    bool won;
    atomic { items++ };
    signal()
}

proctype getter(byte id; bool impatient) {
    bool have, won, others, timed_out;
    byte prepared;

    attempt();
    do
    :: have || timed_out -> break
    :: else ->
        sleepers++;
        atomic { flag = true; prepared = round };
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
        run putter();
        run putter()
    }
    /* Nothing can move: then either nothing is left, or nobody sleeps. */
    timeout -> assert(items == 0 || (!asleep[0] && !asleep[1] && !asleep[2]))
}
