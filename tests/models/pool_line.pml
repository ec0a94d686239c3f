/* SPDX-License-Identifier: MIT */
/*
 * Waking in lib/exec/pool_line.c: the putter that looks for a searcher and then for sleepers, workers that search, sleep and
 * pass on, one of which may be killed anywhere, and the supervisor that buries it. A take, which is one compare-and-swap, is
 * atomic here, and so is each access to the searcher's name and to the event count (eventcount.pml); everything else
 * interleaves. A task that runs may never come back. Claims: when nothing moves any more, nobody sleeps beside an entry; and
 * at most one worker has its name in the word.
 *
 * That the model would see it: who has searched does not pass on (BROKEN 1), the putter looks for a searcher before it puts
 * (BROKEN 2), or only one is woken when a worker has died, as after a put (BROKEN 3): it may have died between taking
 * SLEEPERS off and the wake:
 *
 *     spin -DBROKEN=1 -a pool_line.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define WORKERS 2
#define NOBODY 9

byte entries;            /* put and not taken */
byte searcher = NOBODY;
bool flag;               /* the event count: SLEEPERS */
byte round;              /* modulo 8 */
byte sleepers;
bool asleep[WORKERS];
byte busy;               /* with a task that never comes back */
byte victim = NOBODY;    /* who dies at the next step that it makes */

inline wake_one() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: else
    fi
}

/* A look at the name, a look at the flag, the swap that takes it off, the wake. */
inline signal() {
    if
    :: searcher == NOBODY ->
        if
        :: flag ->
            atomic {
                if
                :: flag -> flag = false; round = (round + 1) % 8; won = true
                :: else -> won = false
                fi
            }
            if
            :: won -> atomic { wake_one(); won = false }
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

inline pass_on() {
    if
    :: entries > 0 -> signal()
    :: else
    fi
}

inline take() {
    atomic {
        if
        :: entries > 0 -> entries--; have = true
        :: else -> have = false
        fi
    }
}

inline become_searcher() {
    atomic {
        if
        :: searcher == NOBODY -> searcher = id; searches = true
        :: else -> searches = false
        fi
    }
}

proctype putter() {
    bool won, seen;
    byte n = 2;

    do
    :: n > 0 ->
        seen = (BROKEN == 2 && searcher != NOBODY);
        atomic { entries++ };
        if
        :: !seen -> signal()
        :: else
        fi;
        n--
    :: else -> break
    od
}

proctype worker(byte id) {
    bool have, won, searches, others, counted;
    byte prepared;

    {
        skip;
again:
        if
        :: searches -> have = false
        :: else -> take()
        fi;
        if
        :: have -> goto runs
        :: else
        fi;
        if
        :: !searches -> become_searcher()
        :: else
        fi;
        if
        :: searches ->
            /* looks for a while */
            assert(searcher == id);
            searcher = NOBODY; searches = false;
            take();
            if
            :: BROKEN != 1 -> pass_on()
            :: else
            fi
        :: else
        fi;
        do
        :: have -> break
        :: else ->
            atomic { sleepers++; counted = true };
            atomic { flag = true; prepared = round };
            take();
            if
            :: have -> atomic { sleepers--; counted = false }; break
            :: else
            fi;
            atomic {
                if
                :: flag && round == prepared -> asleep[id] = true
                :: else
                fi
            }
endasleep:
            !asleep[id];
            atomic { sleepers--; counted = false };
            take();
            others = (sleepers > 0);
            if
            :: others ->
                atomic { flag = true };
                pass_on()
            :: else
            fi
        od;
runs:
        have = false;
        if
        :: entries == 0 -> become_searcher() /* before it tells of its end */
        :: else
        :: atomic { busy++ }; goto over /* a task that never comes back; it has told nothing */
        fi;
        goto again;
over:
        skip
    } unless {
        /* Killed. A sleeper that dies is a matter of the event count, whose others look again after a while. */
        atomic { victim == id && !counted -> victim = NOBODY };
        if
        :: have -> atomic { entries++; have = false } /* it is put again */
        :: else
        fi;
        atomic {
            if
            :: searcher == id -> searcher = NOBODY
            :: else
            fi
        };
        if
        :: BROKEN == 3 -> pass_on()
        :: else -> atomic { flag = false; round = (round + 1) % 8; asleep[0] = false; asleep[1] = false } /* all of them */
        fi
    }
}

/* Sends the signal, at some time or never. */
proctype killer() {
    if
    :: victim = 0
    :: victim = 1
    :: skip
    fi
}

init {
    atomic {
        run worker(0);
        run worker(1);
        run putter();
        run killer()
    }
    timeout -> assert(entries == 0 || (!asleep[0] && !asleep[1]))
}
