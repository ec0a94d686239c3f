/* SPDX-License-Identifier: MIT */
/*
 * How a writer leaves the shared read-write lock of lib/sync/rwlock_shared.c: it gives `writer` back, and opens the gate after that, as
 * its last access, for whoever is let in may free the lock at once.
 *
 * Three processes, each of which acquires for writing, or for writing and gives up at the gate, or for reading; two of them may
 * die at any step. Who holds it last frees it. Checked over all interleavings: no writer beside another or beside a reader;
 * nobody opens a gate that another has closed, who lives; nothing of the lock is touched after it was freed; and everybody comes to
 * an end. Sleeping is left out: who waits here looks all the time, as there after each slice. So are phases (rwlock.pml).
 */
#define PROCESSES 3
#define NOBODY 255

byte writer = NOBODY;  /* the robust lock: who has it */
bool died;             /* its mark: the last holder died */
bool closed;
byte leaver = NOBODY;
bool half_changed;     /* owner */
bool hold[PROCESSES];  /* reading, or in the way of writers as if it did */
bool dead[PROCESSES];

byte closer = NOBODY;  /* ghosts: who has closed the gate */
byte reading, writing;
byte to_come = PROCESSES; /* who has not held it yet for the last time */
bool freed;

#define TOUCH assert(!freed)
#define IS_BEING_OPENED (closed && leaver != NOBODY && !dead[leaver])

inline may_die()
{
    if
    :: mortal -> goto die
    :: true
    fi
}

/* Whoever says so last may end the lock as soon as it has released it. */
inline say_that_it_does_not_come_again()
{
    atomic { said = true; to_come--; last = (to_come == 0) }
}

inline got_writer()
{
    TOUCH; writer = me; told = died && half_changed; died = false
}

/* plait__rwlock_shared_is_being_opened */
inline seems_opened()
{
    atomic { TOUCH; seen = leaver };
    atomic { TOUCH; opened = closed && seen != NOBODY && !dead[seen] }
}

/* plait__rwlock_shared_leave */
inline leave()
{
    atomic { TOUCH; leaver = me };
    may_die();
    atomic { TOUCH; writer = NOBODY };
    may_die();
    atomic { TOUCH; assert(closer == me); closed = false; closer = NOBODY }
}

proctype process(byte me; bool mortal)
{
    bool told, last, said, gives_up, opened;
    byte i, seen;

    if
    :: goto write
    :: gives_up = true; goto write
    :: true
    fi;

look:
    atomic { TOUCH; hold[me] = true };                      /* E1 */
    may_die();
    if
    :: atomic { !closed -> TOUCH; reading++; assert(writing == 0) }; goto reads
    :: atomic { closed -> TOUCH }
    fi;
    hold[me] = false;                                       /* WAITING */
    may_die();
    /* plait__rwlock_look_after_writer. That somebody has `writer` is looked at first, and only where there are robust lists: not here. */
    seems_opened();
    if
    :: atomic { closed && !opened -> TOUCH }
    :: atomic { !closed || opened -> TOUCH }; goto look
    fi;
    if
    :: atomic { writer == NOBODY -> got_writer() }
    :: atomic { writer != NOBODY -> TOUCH }; goto look
    fi;
    if
    :: told -> goto repair
    :: else
    fi;
    may_die();
    seems_opened();
    if
    :: atomic { !opened && closed -> TOUCH; assert(!closed || closer == NOBODY || dead[closer]); closer = me }; leave()
    :: atomic { opened || !closed -> TOUCH; writer = NOBODY }
    fi;
    goto look;
reads:
    assert(!half_changed);
    if
    :: mortal -> reading--; goto die
    :: true
    fi;
    say_that_it_does_not_come_again();
    atomic { reading--; hold[me] = false };
    goto out;

write:
    atomic { writer == NOBODY -> got_writer() };
    if
    :: told -> goto repair
    :: else
    fi;
    may_die();
    atomic { !IS_BEING_OPENED -> TOUCH };                   /* await_leaver */
    may_die();
    atomic { TOUCH; leaver = NOBODY };
    may_die();
    atomic { TOUCH; assert(!closed || closer == NOBODY || dead[closer]); closed = true; closer = me }; /* E1 */
    may_die();
    if
    :: gives_up -> leave(); say_that_it_does_not_come_again(); goto end /* its call returns; it has held nothing */
    :: else
    fi;
    i = 0;
    do
    :: i == PROCESSES -> break
    :: i < PROCESSES && !hold[i] -> i++
    od;
    goto writes;
repair:
    atomic { assert(closed && (closer == NOBODY || dead[closer])); closer = me };
writes:
    atomic { TOUCH; half_changed = true; writing++; assert(writing == 1 && reading == 0) };
    if
    :: mortal -> writing--; goto die
    :: true
    fi;
    say_that_it_does_not_come_again();
    writing--;
    atomic { TOUCH; half_changed = false };
    may_die();
    leave();
out:
    if
    :: last -> freed = true
    :: else
    fi;
    goto end;
die:
    atomic {
        dead[me] = true;
        hold[me] = false;                                   /* an orphan */
        to_come = (said -> to_come : to_come - 1);
        if
        :: writer == me -> writer = NOBODY; died = true     /* the kernel's part */
        :: else
        fi
    };
end:
    skip
}

init {
    atomic {
        run process(0, true);
        run process(1, true);
        run process(2, false)
    }
}
