/* SPDX-License-Identifier: MIT */
/*
 * Models lib/queue/latest.c: four slots, of which one word says which is the latest, and a question of slow readers. The writers, who take
 * turns under a lock, are one process here, of whom one may die half way; two readers, who ask for one to be kept after having been
 * overtaken once (there: twice). A reader who dies is one who takes no further step, which all others must bear anyhow. A value is
 * two words. Each step is one access, in program order; what weaker orders would change is argued there (E1, E2).
 *
 * Claims: a reader gives one whole version, which was not older than the latest one at his start, and exists; a version that is kept is
 * not overwritten; a reader who is overtaken in what was current after he had asked finds one that is kept and new enough; a slot that is
 * current is never written to; and everybody comes to an end.
 */
#define SLOTS 4

byte current_version, current_slot; /* one word */
byte kept_version, kept_slot;       /* one word */
bool asked;
byte version[SLOTS], first[SLOTS], second[SLOTS];

proctype write(byte writes)
{
    byte next, mine;
    bool died;

    do
    :: writes == 0 -> break
    :: writes > 0 ->
        writes--;
        if
        :: asked && current_version != 0 ->
            atomic { kept_version = current_version; kept_slot = current_slot };
            if
            :: !died -> died = true; goto dead
            :: true
            fi;
            asked = false
        :: else
        fi;
        atomic { next = (current_slot + 1) % SLOTS; mine = current_version + 1 };
        if
        :: kept_version != 0 && kept_slot == next -> next = (next + 1) % SLOTS
        :: else
        fi;
        assert(next != current_slot);
        version[next] = mine;
        first[next] = mine;
        if
        :: !died -> died = true; goto dead
        :: true
        fi;
        second[next] = mine;
        if
        :: !died -> died = true; goto dead
        :: true
        fi;
        atomic { current_version = mine; current_slot = next };
dead:
        atomic { next = 0; mine = 0 } /* nothing to be repaired */
    od
}

proctype read()
{
    byte began, now_version, now_slot, chosen_version, chosen_slot, one, two;
    bool has_asked, after; /* ghosts: it has; and what it reads was current after that */

    atomic { current_version != 0; now_version = current_version; now_slot = current_slot };
    atomic { began = now_version; chosen_version = now_version; chosen_slot = now_slot };
    do
    :: true ->
        one = first[chosen_slot];
        two = second[chosen_slot];
        if
        :: version[chosen_slot] == chosen_version -> break
        :: else
        fi;
        /* What is kept is not overwritten, unless another version is kept by now. */
        assert(kept_version != chosen_version);
        /* Who is overtaken in what was current after he asked finds a version that is kept and new enough. */
        assert(!after || kept_version >= began);
        atomic { now_version = current_version; now_slot = current_slot; after = has_asked };
        assert(now_version != chosen_version); /* else it would say that the memory is damaged */
        if
        :: atomic { kept_version >= began && kept_version <= now_version ->
                    chosen_version = kept_version; chosen_slot = kept_slot }
        :: atomic { !(kept_version >= began && kept_version <= now_version) ->
                    chosen_version = now_version; chosen_slot = now_slot }
            atomic { asked = true; has_asked = true }
        fi;
        atomic { now_version = 0; now_slot = 0; one = 0; two = 0 }
    od;
    atomic {
        assert(one == two && one == chosen_version);
        assert(chosen_version >= began && chosen_version <= current_version);
        began = 0; now_version = 0; now_slot = 0; chosen_version = 0; chosen_slot = 0; one = 0; two = 0; has_asked = false; after = false
    }
}

init {
    atomic {
        run write(9);
        run read();
        run read()
    }
}
