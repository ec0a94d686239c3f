/* SPDX-License-Identifier: MIT */
/*
 * Models lib/queue/dict_glance.c and lib/arena/glance.c: a reader without the lock finds a value through a link, in a block that may be freed
 * meanwhile, be used by somebody else, and be a hole whose pages the system has again. The writers, who take turns under the lock, are one
 * process here, which may die once at any step; a reader may die and is one who takes no further step, but
 * for what he has said in his slot. One key, with its entry in one of two blocks, which a reader may go past; a value is two words; `sound` is
 * what else is believed of an entry (its sizes). Each step is one access, in program order (E1, E2 there), but for the reader's word `glancing`, which
 * is `stored` some time before others see it: that is what the fence is for.
 *
 * Claims: a reader gives what was so at one instant, follows nothing that is not an entry's, and never looks at a hole; and everybody comes
 * to an end.
 *
 * That the model would see it: with a place that is followed without the look after it (BROKEN 1), pages given back without the fence
 * (BROKEN 2) or without a look at the slots (BROKEN 3), a repair that leaves the number as it was before the death (BROKEN 4), or one look
 * at the end alone (BROKEN 5), it finds an error:
 *
 *     spin -DBROKEN=1 -a glance.pml && cc -DSAFETY -o pan pan.c && ./pan
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define BLOCKS 2
#define NONE 2 /* no block */

mtype = { FREE, DICT, OTHER };

byte changes;
byte link = NONE, fresh = NONE, gone = NONE; /* of the dict: the bucket, and the change in hand */
mtype state[BLOCKS] = FREE;
bool hole[BLOCKS], sound[BLOCKS];
byte first[BLOCKS], second[BLOCKS], next[BLOCKS];
bool punching; /* the arena's lock, while that may be seen */

bool stored, glancing, dead; /* of the reader: see above; dead: its slot is empty */

byte current; /* ghost: the value that there is; 0: none */

#define IS_STILL (changes == n || BROKEN == 5)

inline take(block, user)
{
    if
    :: atomic { !punching && state[0] == FREE -> block = 0; state[0] = user; hole[0] = false }
    :: atomic { !punching && state[1] == FREE -> block = 1; state[1] = user; hole[1] = false }
    fi
}

inline may_die()
{
    if
    :: deaths > 0 -> deaths--; goto repair
    :: true
    fi
}

/* One step with the word that names it, as in the arena. */
inline free_gone()
{
    atomic { !punching -> if :: gone != NONE -> state[gone] = FREE; gone = NONE :: else fi }
}

proctype write(byte count)
{
    byte deaths = 1;

    do
    :: count == 0 -> break
    :: count > 0 ->
        count--;
        changes++;
        may_die();
        if
        :: link != NONE -> /* delete */
            gone = link;
            may_die();
            atomic { link = NONE; current = 0 }
            may_die()
        :: true ->
            take(fresh, DICT);
            may_die();
            first[fresh] = count + 1;
            second[fresh] = count + 1;
            atomic { sound[fresh] = true; next[fresh] = NONE }
            gone = link;
            may_die();
            atomic { link = fresh; current = count + 1 }
            may_die();
            fresh = NONE;
            may_die()
        fi;
        free_gone();
        may_die();
        changes++;
        may_die(); /* with the lock still held */
        goto through;
repair:
        if
        :: changes % 2 == 0 -> changes++
        :: else
        fi;
        may_die();
        if
        :: fresh != NONE && link == fresh -> fresh = NONE
        :: fresh != NONE && link != fresh ->
            gone = NONE;
            may_die();
            atomic { !punching -> state[fresh] = FREE; fresh = NONE }
        :: fresh == NONE && link == gone -> gone = NONE
        :: else
        fi;
        may_die();
        free_gone();
        may_die();
        if
        :: BROKEN == 4 -> changes--
        :: else -> changes++
        fi;
        may_die();
through:
        skip
    od
}

/* Whoever else uses the arena. */
proctype other(byte count)
{
    byte block = NONE;

    do
    :: count == 0 -> break
    :: count > 0 ->
        count--;
        take(block, OTHER);
        first[block] = 99;
        atomic { sound[block] = false; next[block] = 1 - block }
        second[block] = 98;
        atomic { !punching -> state[block] = FREE; block = NONE }
    od
}

/* Frees pages of free blocks, under the arena's lock. */
proctype punch(byte count)
{
    byte block = NONE;

    do
    :: count == 0 -> break
    :: count > 0 ->
        count--;
        if
        :: atomic { state[0] == FREE && !hole[0] -> block = 0; punching = true }
        :: atomic { state[1] == FREE && !hole[1] -> block = 1; punching = true }
        :: atomic { !(state[0] == FREE && !hole[0]) && !(state[1] == FREE && !hole[1]) -> goto through }
        fi;
        if
        :: BROKEN != 2 -> glancing = stored /* the fence */
        :: else
        fi;
        if
        :: !glancing || dead || BROKEN == 3 -> hole[block] = true
        :: else
        fi;
        punching = false;
through:
        block = NONE
    od
}

/* Some time a store is seen. */
proctype drain()
{
end:
    do
    :: atomic { glancing != stored -> glancing = stored }
    od
}

proctype read(byte count)
{
    byte n, place, one, two;
    bool passed;

    do
    :: count == 0 -> break
    :: count > 0 ->
        count--;
        stored = true;
        n = changes;
        if
        :: n % 2 == 1 -> goto out
        :: else
        fi;
        place = link;
follow:
        if
        :: IS_STILL || BROKEN == 1
        :: else -> goto out
        fi;
        if
        :: place == NONE ->
            atomic { if :: changes == n -> assert(passed || current == 0) :: else fi };
            goto out
        :: else
        fi;
        assert(!hole[place]);
        one = sound[place];
        atomic {
            if
            :: IS_STILL -> assert(one)
            :: else -> goto out
            fi
        }
        assert(!hole[place]);
        if
        :: !passed -> atomic { place = next[place]; passed = true }; goto follow
        :: true
        fi;
        one = first[place];
        assert(!hole[place]);
        two = second[place];
        atomic { if :: changes == n -> assert(one == two && one == current) :: else fi }
out:
        if
        :: dead = true; break
        :: stored = false /* a later store, so others see it later than the first */
        fi;
        atomic { n = 0; place = NONE; one = 0; two = 0; passed = false }
    od
}

init {
    atomic { run write(2); run other(1); run punch(2); run drain(); run read(2) }
}
