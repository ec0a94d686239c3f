/* SPDX-License-Identifier: MIT */
/*
 * Models lib/queue/parcel.c and mail.c: whose a message in shared memory is, while processes die. Three processes: one puts a
 * parcel that it makes, or a slip; one gets either, of a slip a parcel with a copy, and frees it; and each of the two may die at
 * any step, also as the repairer of what another left; then another process takes its place in the arena, and does the same, but
 * does not die. The third puts one as well, and when all are done gets what is left, and settles.
 * The step of a side itself (a put, a get) is one step here: fifo.c and pile.c tell how it is repaired, and `at` with it. So is
 * what the allocator does with a block and the one word that names it (arena/stock.c). Blocks of the dead are looked for at the
 * end, here, and while both locks are held, there.
 *
 * Claims: nothing is freed twice, nor while it is in the queue or in living hands; a get gives what is nobody else's; and in the
 * end everything has been freed.
 */
#define LIVES 5
#define PARCELS (2 * LIVES) /* each life's own, and its copy of a slip */
#define SLIP 100
#define HOLDS 6 /* two of each process's place */
#define NOBODY 255

mtype = { EMPTY, OWNED, GIVING, TAKING };

byte queue[PARCELS], put_at, get_at;   /* what the two sides count; the items between are in the queue */
byte put_lock = NOBODY, get_lock = NOBODY;
bool put_died, get_died;
byte put_hand, get_hand;               /* number of a hold + 1; 0: none */

bool used[HOLDS];
byte holder[HOLDS];                    /* which life */
mtype state[HOLDS];
byte other[HOLDS], next[HOLDS];        /* a parcel + 1, or 0 */

bool dead[5];                          /* lives: 0 and 1 are mortal, 2 is the third, 3 and 4 come after 0 and 1 */
bool made[PARCELS], freed[PARCELS];    /* ghosts */
byte running = 2;

inline may_die()
{
    if
    :: mortal -> goto die
    :: true
    fi
}

inline take_hold(first)
{
    if
    :: atomic { !used[2 * place] -> h = 2 * place; used[h] = true; holder[h] = me; state[h] = first; other[h] = 0 }
    :: atomic { used[2 * place] && !used[2 * place + 1] ->
                h = 2 * place + 1; used[h] = true; holder[h] = me; state[h] = first; other[h] = 0 }
    fi
}

inline drop_hold(number) { used[number] = false }

inline free_other(number)
{
    atomic {
        if
        :: other[number] != 0 ->
            p = other[number] - 1;
            assert(made[p] && !freed[p]);
            freed[p] = true;
            other[number] = 0;
            p = 0
        :: else
        fi
    }
}

/* plait__hand_repair, for a side whose lock was left by a dead one. */
inline repair(hand, at)
{
    if
    :: hand != 0 && used[hand - 1] && state[hand - 1] == GIVING ->
        if
        :: next[hand - 1] != at -> drop_hold(hand - 1)
        :: else -> state[hand - 1] = OWNED
        fi
    :: hand != 0 && used[hand - 1] && state[hand - 1] == TAKING ->
        if
        :: next[hand - 1] != at -> state[hand - 1] = OWNED
        :: else -> state[hand - 1] = EMPTY
        fi
    :: else
    fi;
    may_die();
    hand = 0
}

inline lock_side(lock, died, hand, at)
{
    atomic { lock == NOBODY -> lock = me; mend = died };
    if
    :: mend -> repair(hand, at); may_die(); atomic { died = false; mend = false } /* consistent */
    :: else
    fi
}

inline put()
{
    take_hold(OWNED);
    may_die();
    atomic { mine = me; made[mine] = true; freed[mine] = false; other[h] = mine + 1 }; /* allocated into the hold */
    may_die();
    lock_side(put_lock, put_died, put_hand, put_at);
    next[h] = put_at;
    may_die();
    put_hand = h + 1;
    may_die();
    state[h] = GIVING;
    may_die();
    atomic { queue[put_at] = other[h] - 1; put_at++ };
    may_die();
    drop_hold(h);
    may_die();
    put_hand = 0;
    may_die();
    put_lock = NOBODY
}

inline put_slip()
{
    lock_side(put_lock, put_died, put_hand, put_at);
    may_die();
    atomic { queue[put_at] = SLIP; put_at++ };
    may_die();
    put_lock = NOBODY
}

inline get()
{
    lock_side(get_lock, get_died, get_hand, get_at);
    holds = false;
    if
    :: get_at == put_at -> get_lock = NOBODY; got = false
    :: get_at != put_at && queue[get_at] == SLIP ->
        take_hold(OWNED);
        holds = true;
        may_die();
        atomic { mine = LIVES + me; assert(!made[mine] || freed[mine]); made[mine] = true; freed[mine] = false; other[h] = mine + 1 };
        may_die();
        get_at++;
        may_die();
        get_lock = NOBODY;
        got = true
    :: get_at != put_at && queue[get_at] != SLIP ->
        mine = queue[get_at];
        assert(made[mine] && !freed[mine]);
        take_hold(EMPTY);
        holds = true;
        may_die();
        other[h] = mine + 1;
        may_die();
        next[h] = get_at;
        may_die();
        get_hand = h + 1;
        may_die();
        state[h] = TAKING;
        may_die();
        get_at++;
        may_die();
        state[h] = OWNED;
        may_die();
        get_hand = 0;
        may_die();
        get_lock = NOBODY;
        got = true
    fi;
    may_die();
    if
    :: holds -> free_other(h); may_die(); drop_hold(h)
    :: else
    fi
}

proctype life(byte me, place; bool puts, mortal)
{
    byte h, mine, p;
    bool mend, got, holds;

    if
    :: puts -> put()
    :: puts -> put_slip()
    :: else -> get()
    fi;
    goto end;
die:
    atomic {
        dead[me] = true;
        if
        :: put_lock == me -> put_lock = NOBODY; put_died = true
        :: else
        fi;
        if
        :: get_lock == me -> get_lock = NOBODY; get_died = true
        :: else
        fi;
        run life((puts -> 3 : 4), place, puts, false);
        running++
    };
end:
    running--
}

/* The third: it cannot die, so the marks are for nobody. */
proctype third()
{
    byte me = 2, place = 2, h, mine, p, i;
    bool mend, got, holds, mortal;

    put();
    running == 0;
    do
    :: get();
        if
        :: !got -> break
        :: else
        fi
    od;
    lock_side(put_lock, put_died, put_hand, put_at);
    lock_side(get_lock, get_died, get_hand, get_at);
    i = 0;
    do
    :: i == HOLDS -> break
    :: i < HOLDS ->
        if
        :: used[i] ->
            assert(dead[holder[i]]);
            assert(state[i] == EMPTY || state[i] == OWNED);
            if
            :: state[i] == OWNED -> free_other(i)
            :: else
            fi;
            drop_hold(i)
        :: else
        fi;
        i++
    od;
    i = 0;
    do
    :: i == PARCELS -> break
    :: i < PARCELS -> assert(!made[i] || freed[i]); i++
    od;
    goto end;
die:
    assert(false);
end:
    skip
}

init {
    atomic {
        run life(0, 0, true, true);
        run life(1, 1, false, true);
        run third()
    }
}
