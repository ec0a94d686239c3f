/* SPDX-License-Identifier: MIT */
/*
 * Models lib/queue/broadcast.c and subscriber.c where a full ring waits for the slowest. Two slots, and three casts: two publishers of
 * two items each, of whom one may die at any step, and a subscriber; or one of three items, and two subscribers, of whom one
 * may die; or may leave. An item is two words. Each step is one access to what others look at meanwhile, in program order; what
 * weaker orders would change is argued there (E1 to E6). Records do not come and go: all have subscribed before the first put.
 *
 * Claims: a subscriber gets every item whole, each once and in order, also the one whose publisher died after it was there; no item
 * is overwritten that somebody has not got; and everybody comes to an end, asleep at neither end. Shared sleepers look again after
 * slices of time: here only once somebody has died, so that no wake of the living is missed unnoticed.
 */
#define RING 2
#define NOBODY 255
#define READY(n) (2 * (n) + 1)
#define HAS_ROOM (next - floor < RING)

byte lock = NOBODY;
bool owner_died, closed;
byte word[RING], one[RING], two[RING];
byte next, floor;
byte position[2];
bool subscribed[2], dead[2];       /* the record; its process */
bool room_said, items_said;        /* event counts: somebody sleeps, or is about to */
bool room_awaited[2], items_awaited[2]; /* by whom, since the last wake: the count that a sleeper compares */
bool somebody_died;
byte publishing;

/* What mends touches nothing that others look at without the lock. */
inline take_lock()
{
    atomic {
        lock == NOBODY -> lock = me;
        if
        :: owner_died && word[next % RING] == READY(next) -> next++
        :: else
        fi;
        owner_died = false
    }
}

inline wake_items()
{
    if
    :: items_said -> atomic { items_said = false; items_awaited[0] = false; items_awaited[1] = false }
    :: !items_said
    fi
}

inline wake_room()
{
    if
    :: room_said -> atomic { room_said = false; room_awaited[0] = false; room_awaited[1] = false }
    :: !room_said
    fi
}

inline may_die()
{
    if
    :: mortal -> goto die
    :: true
    fi
}

/* plait__broadcast_slowest: the positions are read one after the other. */
inline look_at(i)
{
    if
    :: subscribed[i] && position[i] < slowest -> slowest = position[i]
    :: else
    fi
}

inline look_for_room()
{
    do
    :: true ->
        atomic { slowest = next; look_at(0) };
        atomic {
            look_at(1);
            if
            :: floor == slowest -> slowest = 0; break
            :: else
            fi
        };
        atomic {
            floor = slowest;
            if
            :: HAS_ROOM -> slowest = 0; break
            :: else
            fi
        }
    od
}

proctype publish(byte me, puts; bool mortal)
{
    byte slowest;
    bool prepared;

again:
    take_lock();
    if
    :: !HAS_ROOM -> look_for_room()
    :: else
    fi;
    if
    :: !HAS_ROOM && ((subscribed[0] && dead[0]) || (subscribed[1] && dead[1])) -> /* bury; twice a look */
        atomic {
            if
            :: dead[0] -> subscribed[0] = false
            :: else
            fi;
            if
            :: dead[1] -> subscribed[1] = false
            :: else
            fi
        };
        wake_room();
        look_for_room()
    :: else
    fi;
    if
    :: !HAS_ROOM ->
        lock = NOBODY;
        if
        :: !prepared -> atomic { room_said = true; room_awaited[me] = true; prepared = true }
        :: atomic { prepared && (!room_awaited[me] || somebody_died) -> prepared = false; room_awaited[me] = false }
        fi;
        goto again
    :: else
    fi;
    /* Nobody who lives has still to get what is overwritten now. */
    assert(next < RING || !subscribed[0] || dead[0] || position[0] > next - RING);
    assert(next < RING || !subscribed[1] || dead[1] || position[1] > next - RING);
    atomic { prepared = false; room_awaited[me] = false; word[next % RING] = 2 * next };
    may_die();
    one[next % RING] = next + 1;
    may_die();
    two[next % RING] = next + 1;
    may_die();
    word[next % RING] = READY(next);
    may_die();
    next++;
    may_die();
    lock = NOBODY;
    may_die();
    wake_items();
    puts--;
    if
    :: puts > 0 -> goto again
    :: else -> goto end
    fi;
die:
    atomic {
        somebody_died = true;
        if
        :: lock == me -> lock = NOBODY; owner_died = true
        :: else
        fi
    };
end:
    publishing--
}

proctype subscribe(byte self; bool mortal, leaves)
{
    byte here, now, a, b;
    bool prepared, was_closed;
    byte me = 10 + self;

    do
    :: true ->
        atomic { was_closed = closed; here = position[self] }; /* E5 */
        now = word[here % RING];
        if
        :: now == READY(here) ->
            a = one[here % RING];
            b = two[here % RING];
            atomic {
                assert(word[here % RING] == READY(here));     /* not overwritten while it was copied */
                assert(a == here + 1 && b == here + 1);
                a = 0; b = 0; items_awaited[self] = false; prepared = false
            };
            may_die();
            position[self] = here + 1;                        /* E2 */
            may_die();
            if
            :: room_said && here <= floor -> wake_room()      /* E3 */
            :: else
            fi
        :: else ->
            assert(now < READY(here));
            if
            :: was_closed -> break
            :: !was_closed && !prepared -> atomic { items_said = true; items_awaited[self] = true; prepared = true }
            :: atomic { !was_closed && prepared && (!items_awaited[self] || somebody_died) -> prepared = false; items_awaited[self] = false }
            fi;
            may_die()
        fi;
        if
        :: leaves ->
            take_lock();
            subscribed[self] = false;
            lock = NOBODY;
            wake_room();
            goto end
        :: true
        fi
    od;
    assert(position[self] == next);                           /* all that there was */
    goto end;
die:
    atomic { dead[self] = true; somebody_died = true };
end:
    skip
}

init {
    byte me = 20;

    atomic {
        subscribed[0] = true;
        run subscribe(0, false, false);
        if
        :: publishing = 2; run publish(0, 2, true); run publish(1, 2, false)
        :: subscribed[1] = true; publishing = 1; run publish(0, 3, false); run subscribe(1, true, false)
        :: subscribed[1] = true; publishing = 1; run publish(0, 3, false); run subscribe(1, false, true)
        fi
    };
    publishing == 0;
    take_lock();
    closed = true;
    lock = NOBODY;
    atomic { items_said = false; items_awaited[0] = false; items_awaited[1] = false };
    atomic { room_said = false; room_awaited[0] = false; room_awaited[1] = false }
}
