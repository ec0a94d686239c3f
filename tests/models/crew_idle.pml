/* SPDX-License-Identifier: MIT */
/*
 * Searchers and sleepers of lib/exec/crew_idle.c: the word {top, searchers, changes}, of which each change is one step,
 * and the bells. Two outsiders put a task each into a queue, two threads search, take, and fall asleep; a task may come
 * to its end or not. Claims: when nothing moves any more, nothing is left in the queue, all threads sleep that are not
 * held up by a task, each once among the sleepers; and nobody is woken while somebody searches already.
 *
 * That the model would see it: who falls asleep does not look again (BROKEN 1), the last searcher that has found
 * something does not look again (BROKEN 2), or the word has no count of changes (BROKEN 3):
 *
 *     spin -DBROKEN=1 -a crew_idle.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define THREADS 2
#define NONE 9
#define ROUND 16 /* more changes than there can be between a look and its compare and swap */

byte queue;
byte top = NONE, searchers, changes; /* the source counts more changes than these, which are enough */
byte below[THREADS] = NONE;
bool bell[THREADS] = true; /* false: asleep or about to be */
byte stay;                 /* threads that never come back from their task */

inline change() {
    if
    :: BROKEN == 3 -> skip
    :: else -> changes = (changes + 1) % ROUND
    fi
}

/* plait__crew_notify: looks; then takes the one on top out, if the word is as it was. */
inline notify() {
    do
    :: atomic { seen_top = top; seen_searchers = searchers; seen_changes = changes };
       if
       :: seen_top == NONE || seen_searchers > 0 -> break
       :: else
       fi;
       next = below[seen_top];
       atomic {
           won = (top == seen_top && searchers == seen_searchers && changes == seen_changes);
           if
           :: won ->
               assert(BROKEN == 3 || !bell[seen_top]);
               assert(searchers == 0);
               top = next;
               searchers++;
               change()
           :: else
           fi
       };
       if
       :: won -> bell[seen_top] = true; break
       :: else
       fi
    od;
    seen_top = NONE; seen_searchers = 0; seen_changes = 0; next = NONE; won = false
}

proctype outsider() {
    byte seen_top = NONE, seen_searchers, seen_changes, next = NONE;
    bool won;

    queue++;
    notify()
}

proctype thread(byte id) {
    byte seen_top = NONE, seen_searchers, seen_changes, next = NONE;
    bool won, have, last;

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
        atomic { searchers--; last = (searchers == 0 && top != NONE) };
        if
        :: last && BROKEN != 2 && queue > 0 -> notify()
        :: else
        fi;
        last = false; have = false;
        if
        :: goto begin
        :: stay++; goto end
        fi
    :: else
    fi;
    bell[id] = false;
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
    seen_top = NONE; seen_searchers = 0; seen_changes = 0; won = false;
    if
    :: queue > 0 && BROKEN != 1 -> notify()
    :: else
    fi;
endasleep:
    bell[id]; /* futex */
    goto search;
end:
    skip
}

init {
    byte count, at;

    atomic { run thread(0); run thread(1); run outsider(); run outsider() };
    timeout ->
        assert(queue == 0 && searchers == 0 && bell[0] + bell[1] == stay);
        at = top;
        do
        :: at == NONE || count > THREADS -> break
        :: else -> count++; at = below[at]
        od;
        assert(count == THREADS - stay)
}
