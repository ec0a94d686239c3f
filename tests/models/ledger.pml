/* SPDX-License-Identifier: MIT */
/*
 * Models lib/queue/ledger.c and record.c: where the items of a joinable queue in shared memory are, while who has them dies. Two consumers
 * get an item and finish it, and either may die at any step, also as the repairer of what another left; then another process takes its place,
 * which does not die. A third process gets from the queue of the dead letters, and joins: when nothing is unfinished, all is over.
 *
 * The step of a side itself (a get, a put of a letter) is one step here: fifo.c tells how it is repaired, and `at` with it. Lists and
 * their counts are found again from the states after a death, so here there are only states. That a death is noticed is a look at
 * any time; how a joiner sleeps until then is the event count's model.
 *
 * Claims: no item is with two who live, or done twice without a death between, or done and among the letters; none is delivered more often than
 * it may be; when the join returns, each has been done or has come to the letters, once; and the records are free again.
 */
#define ITEMS 2
#define RECORDS 2
#define DELIVERIES(i) ((i) + 1) /* of an item: after as many deaths it is a letter */
#define NOBODY 255

mtype = { FREE, TAKING, TAKEN, RETURNED, LETTER, POSTING, POSTED, DONE };

byte get_at;                        /* items before it have left the queue; item i is queue[i] */
byte get_lock = NOBODY, hand;       /* hand: number of a record + 1; 0: none */
bool get_died;
byte letters[ITEMS], letters_at, letters_lock = NOBODY, letters_hand;
bool letters_died;

mtype state[RECORDS] = FREE;
byte deaths[RECORDS], item[RECORDS], owner[RECORDS], record_at[RECORDS], letter_at[RECORDS];

bool dead[5];                       /* lives: 0 and 1 are mortal, 2 is the third, 3 and 4 come after 0 and 1 */
byte with[ITEMS] = NOBODY;          /* ghosts: which life works on it; how often it was done, posted and delivered */
byte done[ITEMS], posted[ITEMS], delivered[ITEMS];
bool over;

inline may_die()
{
    if
    :: mortal -> goto die
    :: true
    fi
}

/* plait__record_repair: of the record that the side's hand names. */
inline repair_letters_hand()
{
    if
    :: letters_hand != 0 && state[letters_hand - 1] == POSTING ->
        if
        :: letter_at[letters_hand - 1] != letters_at -> state[letters_hand - 1] = POSTED
        :: else -> state[letters_hand - 1] = LETTER
        fi;
        may_die()
    :: else
    fi;
    letters_hand = 0
}

inline repair_hand()
{
    if
    :: hand != 0 && state[hand - 1] == TAKING ->
        if
        :: record_at[hand - 1] != get_at -> state[hand - 1] = TAKEN
        :: else -> state[hand - 1] = FREE
        fi;
        may_die()
    :: else
    fi;
    hand = 0
}

inline lock_letters()
{
    atomic { letters_lock == NOBODY -> letters_lock = me; mend_letters = letters_died };
    if
    :: mend_letters ->
        repair_letters_hand();
        may_die();
        atomic { letters_died = false; mend_letters = false }
    :: else
    fi
}

/* plait__ledger_repair, after the hand. */
inline repair_records()
{
    if
    :: state[0] == POSTING || state[0] == POSTED || state[1] == POSTING || state[1] == POSTED ->
        lock_letters();
        may_die();
        letters_lock = NOBODY
    :: else
    fi;
    r = 0;
    do
    :: r == RECORDS -> break
    :: r < RECORDS ->
        assert(state[r] != POSTING && state[r] != TAKING);
        if
        :: state[r] == POSTED || state[r] == DONE -> may_die(); atomic { state[r] = FREE; deaths[r] = 0 }
        :: else
        fi;
        r++
    od
}

inline lock_gets()
{
    atomic { get_lock == NOBODY -> get_lock = me; mend = get_died };
    if
    :: mend ->
        repair_hand();
        may_die();
        repair_records();
        may_die();
        atomic { get_died = false; mend = false }
    :: else
    fi
}

inline post()
{
    lock_letters();
    may_die();
    letter_at[r] = letters_at;
    may_die();
    letters_hand = r + 1;
    may_die();
    state[r] = POSTING;
    may_die();
    atomic { letters[letters_at] = item[r]; letters_at++; posted[item[r]]++ };
    may_die();
    state[r] = POSTED;
    may_die();
    letters_hand = 0;
    may_die();
    letters_lock = NOBODY;
    may_die();
    atomic { state[r] = FREE; deaths[r] = 0 }
}

/* look_for_deaths, with the lock held. */
inline look()
{
    r = 0;
    do
    :: r == RECORDS -> break
    :: r < RECORDS ->
        if
        :: state[r] == TAKEN && dead[owner[r]] ->
            atomic {
                deaths[r]++; /* in the same word */
                if
                :: deaths[r] >= DELIVERIES(item[r]) -> state[r] = LETTER
                :: else -> state[r] = RETURNED
                fi
            };
            may_die()
        :: else
        fi;
        if
        :: state[r] == LETTER -> post(); may_die()
        :: else
        fi;
        r++
    od
}

inline deliver()
{
    assert(with[item[r]] == NOBODY || dead[with[item[r]]]);
    with[item[r]] = me;
    delivered[item[r]]++;
    assert(delivered[item[r]] <= DELIVERIES(item[r]));
    mine = r;
    got = true
}

/* The record of the effect is one with the effect: the ghosts. */
inline take()
{
    got = false;
    r = 0;
    do
    :: r < RECORDS && state[r] != RETURNED -> r++
    :: r < RECORDS && state[r] == RETURNED ->
        owner[r] = me;
        may_die();
        atomic { state[r] = TAKEN; deliver() };
        break
    :: r == RECORDS -> break
    od;
    if
    :: !got && get_at < ITEMS ->
        r = 0;
        do
        :: state[r] == FREE -> break
        :: else -> r++; assert(r < RECORDS)
        od;
        item[r] = get_at;
        may_die();
        owner[r] = me;
        may_die();
        record_at[r] = get_at;
        may_die();
        hand = r + 1;
        may_die();
        state[r] = TAKING;
        may_die();
        atomic { get_at++; deliver() };
        may_die();
        state[r] = TAKEN;
        may_die();
        hand = 0
    :: else
    fi
}

inline finish()
{
    lock_gets();
    may_die();
    assert(state[mine] == TAKEN && owner[mine] == me);
    atomic { state[mine] = DONE; with[item[mine]] = NOBODY; done[item[mine]]++ };
    may_die();
    atomic { state[mine] = FREE; deaths[mine] = 0 };
    may_die();
    get_lock = NOBODY
}

proctype consumer(byte me, after; bool mortal)
{
    byte r, mine;
    bool mend, mend_letters, got;

    do
    :: over -> break
    :: lock_gets();
        may_die();
        take();
        may_die();
        if
        :: !got -> look(); may_die()
        :: else
        fi;
        get_lock = NOBODY;
        may_die();
        if
        :: got -> finish(); may_die()
        :: else
        fi
    od;
    goto end;
die:
    atomic {
        dead[me] = true;
        if
        :: letters_lock == me -> letters_lock = NOBODY; letters_died = true
        :: else
        fi;
        if
        :: get_lock == me -> get_lock = NOBODY; get_died = true
        :: else
        fi;
        run consumer(after, NOBODY, false)
    };
end:
    skip
}

#define IS_OUT(r) (state[r] == TAKEN || state[r] == RETURNED || state[r] == LETTER)

proctype third()
{
    byte me = 2, r;
    bool mend, mend_letters, mortal, none;

    do
    :: lock_letters();
        letters_lock = NOBODY
    :: lock_gets();
        look();
        none = get_at == ITEMS && !IS_OUT(0) && !IS_OUT(1);
        get_lock = NOBODY;
        if
        :: none -> break
        :: else
        fi
    od;
    r = 0;
    do
    :: r == ITEMS -> break
    :: r < ITEMS -> assert(done[r] + posted[r] == 1); r++
    od;
    assert(letters_at == posted[0] + posted[1]);
    assert(state[0] == FREE && state[1] == FREE);
    over = true;
    goto end;
die:
    assert(false);
end:
    skip
}

init {
    atomic {
        run consumer(0, 3, true);
        run consumer(1, 4, true);
        run third()
    }
}
