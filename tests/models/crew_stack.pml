/* SPDX-License-Identifier: MIT */
/*
 * The stack of lib/exec/crew_stack.c: its word {tail, split}, of which each change is one step, the slots, and their
 * states. One owner runs a task that spawns twice, syncs once, spawns again, and syncs the rest; it offers at any spawn
 * or sync, as if asked at any time. Two thieves. Claims: each task is run once, before its sync has returned; a thief
 * finds in the slot the task that was spawned last; tail <= split <= top; and nobody waits for ever for a task that has
 * been run.
 *
 * That the model would see it: without the compare of the whole word in take_back (BROKEN 1), or with the slot read
 * before the compare and swap of the thief (BROKEN 2), or with the state of a slot not cleared after the wait (BROKEN 3),
 * it finds an error:
 *
 *     spin -DBROKEN=1 -a crew_stack.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define SLOTS 3
#define TASKS 5
#define NONE 9

byte tail, split, top;
byte slot[SLOTS];          /* the task in it */
bool done[SLOTS], sleeper[SLOTS];
bool awake;                /* the owner's sleep on a state has been ended */
byte ran[TASKS];
bool over;
byte spawned;

/* Offer some of what is private below `below`. */
inline offer(below) {
    if
    :: below > split ->
        if
        :: split = split + (below - split + 1) / 2 /* one addition to the word */
        :: skip                                    /* nobody has asked */
        fi
    :: else
    fi;
    assert(tail <= split && split <= top)
}

inline spawn() {
    slot[top] = spawned;
    assert(!done[top]);
    spawned++;
    top++;
    atomic { offer(top) }
}

inline execute(task) {
    ran[task]++;
    assert(ran[task] == 1)
}

inline wait_for(index) {
    do
    :: done[index] -> break
    :: else ->
        atomic { sleeper[index] = true; awake = false };
        if
        :: done[index] -> break
        :: else -> awake                /* futex: compared with the state, so a mark in between ends it */
        fi
    od
}

/* Sync: the task of the last slot has run afterwards. */
inline sync() {
    index = top - 1;
    last = slot[index];
    if
    :: index >= split -> /* private */
        atomic { offer(index) };
        top = index;
        execute(last)
    :: else ->
        got = false;
        do
        :: atomic { seen = tail };
           if
           :: seen > index -> break
           :: else ->
                atomic { /* the split is the owner's, and as it was */
                    if
                    :: BROKEN == 1 || tail == seen ->
                        got = true;
                        if
                        :: split = index
                        :: split = (seen + index) / 2
                        fi
                    :: else
                    fi
                };
                if
                :: got -> break
                :: else
                fi
           fi
        od;
        if
        :: got -> top = index; assert(BROKEN == 1 || tail <= split); execute(last)
        :: else ->
            assert(split == index + 1 && tail == split);
            wait_for(index);
            if
            :: BROKEN != 3 -> done[index] = false
            :: else
            fi;
            sleeper[index] = false;
            atomic { tail = index; split = index };
            top = index
        fi
    fi;
    assert(ran[last] == 1)
}

active proctype owner() {
    byte index, last, seen;
    bool got;

    spawn(); spawn(); spawn();
    sync();
    spawn();
    sync();
    sync();
    spawn();
    sync();
    sync();
    assert(top == 0 && tail == 0 && split == 0);
    over = true
}

active [2] proctype thief() {
    byte t, s, task;
    bool mine, woken;

    do
    :: over -> break
    :: atomic { tail < split -> t = tail; s = split }; /* the word is read as one */
        if
        :: BROKEN == 2 -> task = slot[t]
        :: else
        fi;
        atomic { mine = (tail == t && split == s); tail = tail + mine };
        if
        :: mine ->
            if
            :: BROKEN != 2 -> task = slot[t]
            :: else
            fi;
            execute(task);
            atomic { woken = sleeper[t]; done[t] = true; sleeper[t] = false };
            if
            :: woken -> awake = true
            :: else
            fi
        :: else
        fi
    od
}
