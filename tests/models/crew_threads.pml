/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go, of lib/exec/crew_threads.c and crew_idle.c: two places, of which the first always has its
 * thread, and the other one is vacant, or has one that may leave while it sleeps. Outsiders put a task each into a queue; a task may come to its end or not; a thread may fail to start, once. Claims: when nothing moves any more, something is left in
 * the queue only if all places have threads that are held up, or the one that was to be started could not be; each place belongs to
 * its thread, or is among the sleepers or the vacant, once; `serving` is right; there are never more threads at work than there are tasks, one
 * thread aside.
 *
 * That the model would see it: who comes does not look whether there is more to do (BROKEN 1), a bell that is GONE is
 * taken for one that was rung (BROKEN 2), who leaves does not look whether it has been woken (BROKEN 3), who has taken
 * a place out of the sleepers in vain does not look again (BROKEN 4), or a searcher that has found something, and was the last, thinks of
 * sleepers only (BROKEN 5, as it was at first), or who was to start one and found no vacant place does not look again (BROKEN 6, as well).
 * 1 and 6 take three outsiders, with whom there are too many states to see them all each time:
 *
 *     spin -DBROKEN=1 -DOUTSIDERS=3 -a crew_threads.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#ifndef OUTSIDERS
#define OUTSIDERS 2
#endif
#define PLACES 2
#define NONE 9
#define ROUND 32 /* more changes than there can be between a look and its compare and swap */
#define ASLEEP 0
#define AWAKE 1
#define GONE 2

byte queue, under_way;
byte top = NONE, searchers, changes;
byte below[PLACES] = NONE;
byte bell[PLACES];
bool vacant;      /* place 1 is */
bool starting, has_failed;
byte serving = 1;
byte threads = 1; /* that are there */
byte stay;        /* that never come back from their task */

inline change() { changes = (changes + 1) % ROUND }

inline forget() { seen_top = NONE; seen_searchers = 0; seen_changes = 0; next = NONE; won = false }

inline start_one() {
    do
    :: vacant && under_way > serving ->
        atomic { won = !starting; starting = true };
        if
        :: won ->
            atomic { won = vacant; vacant = false };
            if
            :: won ->
                serving++;
                bell[1] = AWAKE;
                if
                :: threads++; run thread(1, true)
                :: atomic { !has_failed -> has_failed = true }; serving--; bell[1] = GONE; vacant = true; starting = false
                fi;
                break
            :: else ->
                starting = false;
                if
                :: vacant && queue > 0 && BROKEN != 6
                :: else -> break
                fi
            fi
        :: else -> break
        fi
    :: else -> break
    od
}

/* plait__crew_notify */
inline notify() {
    do
    :: atomic { seen_top = top; seen_searchers = searchers; seen_changes = changes };
       if
       :: seen_searchers > 0 -> break
       :: seen_searchers == 0 && seen_top == NONE -> start_one(); break
       :: else
       fi;
       next = below[seen_top];
       atomic {
           won = (top == seen_top && searchers == seen_searchers && changes == seen_changes);
           if
           :: won -> top = next; searchers++; change()
           :: else
           fi
       };
       if
       :: won ->
           atomic {
               won = (bell[seen_top] == ASLEEP || BROKEN == 2);
               if
               :: won -> bell[seen_top] = AWAKE
               :: else
               fi
           };
           if
           :: won -> break
           :: else ->
               assert(!vacant);
               vacant = true;
               searchers--;
               if
               :: BROKEN == 4 -> break
               :: else
               fi
           fi
       :: else
       fi
    od;
    forget()
}

proctype outsider() {
    byte seen_top = NONE, seen_searchers, seen_changes, next = NONE;
    bool won;

    under_way++;
    queue++;
    notify()
}

proctype thread(byte id; bool was_started) {
    byte seen_top = NONE, seen_searchers, seen_changes, next = NONE;
    bool won, have, last;

    if
    :: was_started ->
        starting = false;
        if
        :: queue > 0 && BROKEN != 1 -> notify()
        :: else
        fi
    :: else
    fi;
begin:
    searchers++;
search:
    atomic {
        have = (queue > 0);
        if
        :: have -> queue--
        :: else
        fi
    };
    if
    :: have ->
        atomic { searchers--; last = (searchers == 0 && (top != NONE || (vacant && BROKEN != 5))) };
        if
        :: last && queue > 0 -> notify()
        :: else
        fi;
        last = false; have = false;
        if
        :: under_way--; goto begin
        :: stay++; goto end
        fi
    :: else
    fi;
    bell[id] = ASLEEP;
    do
    :: atomic { seen_top = top; seen_searchers = searchers; seen_changes = changes };
       below[id] = seen_top;
       atomic {
           won = (top == seen_top && searchers == seen_searchers && changes == seen_changes);
           if
           :: won -> top = id; searchers--; change()
           :: else
           fi
       };
       if
       :: won -> break
       :: else
       fi
    od;
    forget();
    if
    :: queue > 0 -> notify()
    :: else
    fi;
endasleep:
    do
    :: bell[id] == AWAKE -> goto search /* futex */
    :: id == 1 && bell[id] == ASLEEP && serving > 1 -> /* its time is up */
        serving--;
        atomic {
            won = (bell[id] == ASLEEP || BROKEN == 3);
            if
            :: won -> bell[id] = GONE
            :: else
            fi
        };
        if
        :: won -> won = false; threads--; goto end
        :: else -> serving++
        fi
    od;
end:
    skip
}

init {
    byte count, at;

    atomic {
        bell[1] = GONE;
        vacant = true;
        run thread(0, false);
        run outsider(); run outsider();
        if
        :: OUTSIDERS > 2 -> run outsider()
        :: else
        fi
    };
    timeout ->
        assert(!starting && searchers == 0 && serving == threads);
        assert(queue == 0 || stay == PLACES || (has_failed && stay == 1));
        at = top;
        do
        :: at == NONE || count > PLACES -> break
        :: else -> count++; at = below[at]
        od;
        assert(count + stay + vacant == PLACES)
}
