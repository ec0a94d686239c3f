/* SPDX-License-Identifier: MIT */
/*
 * The queue of lib/exec/crew_queue.c, with the hands, as its threads use it: the list that comes in and the one that goes
 * out, the lock that is only tried, and looks at them one after the other. Sleeping and waking are one step each here
 * (crew_idle.pml has them in full). An outsider submits three tasks, one of two threads or both take them; each task may
 * come to its end or not. Claim: when nothing moves any more, nothing is left unless all threads are held up.
 *
 * That the model would see it: who has taken from the queue does not look for sleepers (BROKEN 1), or who falls asleep
 * does not look into the hands (BROKEN 2):
 *
 *     spin -DBROKEN=1 -a crew_queue.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif

byte incoming, outgoing, hand[2];
bool lock;
byte searchers;
bool asleep[2], stays[2];

inline notify() {
    atomic {
        if
        :: searchers == 0 && asleep[0] -> asleep[0] = false; searchers++
        :: searchers == 0 && asleep[1] -> asleep[1] = false; searchers++
        :: else
        fi
    }
}

/* Three loads. */
inline look() {
    there = (incoming > 0);
    there = there || (outgoing > 0);
    there = there || (hand[0] + hand[1] > 0 && BROKEN != 2)
}

inline take_from_queue() {
    if
    :: incoming == 0 && outgoing == 0
    :: else ->
        atomic { got = !lock; lock = true };
        if
        :: got ->
            if
            :: outgoing == 0 -> atomic { taken = incoming; incoming = 0 }; outgoing = taken
            :: else
            fi;
            if
            :: outgoing > 0 ->
                have = true;
                if
                :: taken = 0
                :: outgoing > 1 -> taken = 1; hand[id] = hand[id] + 1
                fi;
                outgoing = outgoing - 1 - taken
            :: else
            fi;
            taken = 0;
            there = (outgoing > 0 || hand[id] > 0);
            lock = false;
            if
            :: there && BROKEN != 1 -> notify()
            :: else
            fi;
            there = false;
            got = false
        :: else
        fi
    fi
}

inline take() {
    atomic {
        if
        :: hand[id] > 0 -> hand[id] = hand[id] - 1; have = true
        :: else
        fi
    };
    if
    :: !have -> take_from_queue()
    :: else
    fi
}

proctype outsider() {
    byte n;

    do
    :: n == 3 -> break
    :: else -> atomic { incoming++ }; notify(); n++
    od
}

proctype thread(byte id) {
    bool have, got, there;
    byte taken;

begin:
    take(); /* without being a searcher */
    if
    :: have -> goto work
    :: else
    fi;
    atomic { searchers++ };
search:
    take();
    atomic {
        if
        :: !have && hand[1 - id] > 0 -> hand[1 - id] = hand[1 - id] - 1; have = true
        :: else
        fi
    };
    if
    :: have ->
        atomic { searchers--; got = (searchers == 0 && asleep[1 - id]) };
        if
        :: got ->
            look();
            if
            :: there -> notify()
            :: else
            fi
        :: else
        fi;
        got = false; there = false;
        goto work
    :: else
    fi;
    atomic { asleep[id] = true; searchers-- };
    look();
    if
    :: there -> notify()
    :: else
    fi;
    there = false;
endasleep:
    !asleep[id];
    goto search;
work:
    have = false;
    if
    :: goto begin
    :: stays[id] = true
    fi
}

init {
    atomic { run thread(0); run thread(1); run outsider() };
    timeout -> assert(incoming + outgoing + hand[0] + hand[1] == 0 || (stays[0] && stays[1]))
}
