/* SPDX-License-Identifier: MIT */
/*
 * The read-write lock of lib/sync/rwlock.c: holds in the readers' own memory, the gate and its phases, the groups that a
 * writer clears before it looks, sleeping on the gate's two halves and on a reader's row.
 *
 * Two readers, each a group of its own, of which one may die at any step and one gives up whenever it must wait, and a writer that
 * writes twice or gives up; or a reader and two writers; or three writers. Checked over all interleavings: no writer beside a
 * reader or a writer; no writer before a reader who slept when the last one released (shared: if that let it in, which is a matter of
 * time there); and everybody comes to an end, so no wake is lost. Memory is in order here: that it is in order where it matters is E1
 * to E3 of the source.
 */
#define READERS_COUNT 2
#define WRITERS_COUNT 3

#define FREE 0
#define READING 1
#define WAITING 2 /* + phase */

bool closed, readers_flag, writers_flag;
bool shared;                            /* not every release changes the phase */
bit phase;
byte round;

byte hold[READERS_COUNT];
bool group[READERS_COUNT];
bool wanted[READERS_COUNT];
bool dead[READERS_COUNT];

bool reader_asleep[READERS_COUNT];
bool writer_asleep[WRITERS_COUNT];      /* on the high half */
bool drainer_asleep[READERS_COUNT];     /* a writer, on that reader's row */

byte reading, writing;
bool let_in[READERS_COUNT];             /* slept when a writer released; comes before the next one */

#define IN_THE_WAY(r) (hold[r] != FREE && hold[r] != WAITING + phase)

inline wake_wanted(r)
{
    if
    :: wanted[r] -> wanted[r] = false; drainer_asleep[r] = false
    :: else
    fi
}

proctype reader(byte me; byte times; bool mortal; bool gives_up)
{
    byte mine, rounds;
    bool saw_closed;
    bit saw_phase;

again:
    if
    :: rounds == times -> goto end
    :: else -> rounds++
    fi;
    mine = READING;
    hold[me] = READING;                                     /* E1 */
look:
    if
    :: mortal -> goto die
    :: true
    fi;
    atomic { saw_closed = closed; saw_phase = phase };      /* one word */
    if
    :: !group[me] -> group[me] = true; goto look
    :: else
    fi;
    if
    :: mine != READING && mine != WAITING + saw_phase -> hold[me] = READING; goto in
    :: mine == READING && !saw_closed -> goto in
    :: mine == WAITING + saw_phase && !saw_closed -> mine = READING; hold[me] = READING; goto look
    :: mine == READING && saw_closed -> mine = WAITING + saw_phase; hold[me] = mine; wake_wanted(me); goto look
    :: mine == WAITING + saw_phase && saw_closed
    fi;
    if
    :: gives_up -> let_in[me] = false; hold[me] = FREE; wake_wanted(me); goto again
    :: true
    fi;
    atomic {                                                /* READERS, if the state is still what was seen */
        if
        :: closed && phase == saw_phase -> readers_flag = true
        :: else -> goto look
        fi
    }
    atomic {                                                /* futex wait compares the low half */
        if
        :: closed && phase == saw_phase && readers_flag -> reader_asleep[me] = true
        :: else -> goto look
        fi
    }
    !reader_asleep[me];
    goto look;
in:
    let_in[me] = false;
    reading++;
    assert(writing == 0);
    if
    :: mortal -> reading--; goto die
    :: true
    fi;
    reading--;
    hold[me] = FREE;
    wake_wanted(me);                                        /* E3 */
    goto again;
die:
    atomic { dead[me] = true; let_in[me] = false };
end:
    skip
}

/* Opening the gate: one exchange; then the wakes. */
inline open(change)
{
    atomic {
        closed = false;
        if
        :: changes = change
        :: shared -> changes = 0
        fi;
        phase = phase ^ changes;
        let_in[0] = let_in[0] || (changes && reader_asleep[0] && !dead[0]);
        let_in[1] = let_in[1] || (changes && reader_asleep[1] && !dead[1]);
        woke_readers = readers_flag; readers_flag = false;
        woke_writers = writers_flag; writers_flag = false;
        if
        :: woke_writers -> round = (round + 1) % 8
        :: else
        fi
    };
    atomic {
        if
        :: woke_readers -> reader_asleep[0] = false; reader_asleep[1] = false
        :: else
        fi
    };
    atomic {                                                /* one of them: any */
        if
        :: woke_writers && writer_asleep[0] -> writer_asleep[0] = false
        :: woke_writers && writer_asleep[1] -> writer_asleep[1] = false
        :: woke_writers && writer_asleep[2] -> writer_asleep[2] = false
        :: !woke_writers || !(writer_asleep[0] || writer_asleep[1] || writer_asleep[2])
        fi;
        woke_readers = false; woke_writers = false
    }
}

proctype writer(byte me; byte times; bool gives_up)
{
    byte rounds, r, saw_round;
    bool slept, woke_readers, woke_writers;
    bit changes;
    bool saw[READERS_COUNT], keep[READERS_COUNT];

again:
    if
    :: rounds == times -> goto end
    :: else -> rounds++
    fi;
    slept = false;
close:
    atomic {
        if
        :: !closed -> closed = true; writers_flag = writers_flag || slept; goto drain   /* E1 */
        :: else -> writers_flag = true; slept = true; saw_round = round
        fi
    };
    atomic {                                                /* futex wait compares the high half */
        if
        :: round == saw_round -> writer_asleep[me] = true
        :: else
        fi
    };
    if
    :: !writer_asleep[me]
    :: gives_up -> writer_asleep[me] = false;               /* the deadline: leave_to_others */
        atomic {
            if
            :: closed -> writers_flag = true; goto again
            :: else
            fi
        };
        atomic {
            if
            :: writer_asleep[0] -> writer_asleep[0] = false
            :: writer_asleep[1] -> writer_asleep[1] = false
            :: writer_asleep[2] -> writer_asleep[2] = false
            :: else
            fi
        };
        goto again
    fi;
    goto close;

drain:
    atomic {                                                /* one word */
        saw[0] = group[0]; saw[1] = group[1];
        group[0] = false; group[1] = false;
        keep[0] = false; keep[1] = false;
        r = 0
    };
    do
    :: r == READERS_COUNT -> break
    :: r < READERS_COUNT && (!saw[r] || hold[r] == FREE) -> r++
    :: r < READERS_COUNT && saw[r] && hold[r] != FREE ->
        keep[r] = true;
        do
        :: !IN_THE_WAY(r) -> break
        :: dead[r] -> hold[r] = FREE; break
        :: IN_THE_WAY(r) && gives_up ->
            atomic { group[0] = group[0] || saw[0]; group[1] = group[1] || saw[1] };
            open(0);
            goto again
        :: IN_THE_WAY(r) && !dead[r] ->
            wanted[r] = true;                               /* E3 */
            if
            :: IN_THE_WAY(r) ->
                atomic { if :: wanted[r] -> drainer_asleep[r] = true :: else fi };
                if
                :: !drainer_asleep[r]
                :: dead[r] -> drainer_asleep[r] = false     /* seen after a slice */
                fi
            :: else
            fi
        od;
        r++
    od;
    atomic { group[0] = group[0] || keep[0]; group[1] = group[1] || keep[1] };

    writing++;
    assert(writing == 1 && reading == 0);
    assert(!let_in[0] && !let_in[1]);
    writing--;
    open(1);
    goto again;
end:
    skip
}

/* Three at a time: four would be too many for an exhaustive search. */
init {
    atomic {
        if
        :: shared = true
        :: true
        fi;
        if
        :: run reader(0, 1, true, false); run reader(1, 1, false, true); run writer(0, 2, true)
        :: run reader(0, 2, false, false); run reader(1, 1, true, false); run writer(0, 1, false)
        :: run reader(0, 1, false, true); run writer(0, 2, false); run writer(1, 1, true)
        :: run writer(0, 1, false); run writer(1, 2, false); run writer(2, 1, true)
        fi
    }
    _nr_pr == 1;
    assert(!closed)
}
