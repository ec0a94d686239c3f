/* SPDX-License-Identifier: MIT */
/*
 * The barrier of lib/sync/barrier.c: arrived, resets, SLEEPERS, BROKEN and the round in one word (here a record that is
 * compared and changed in one step), and the states that resets have ended, for parties that look late.
 *
 * Three callers of a barrier for two pass twice, once and twice; the second gives up when it likes. A fourth resets twice,
 * in its two steps and the keeping of the end between them. In the end it breaks the barrier, so that all come to their end.
 * Over all interleavings: every round that completes is told to exactly its two parties, with indexes 0 and 1, and a broken one
 * to none; nobody sleeps on though its round is over.
 */
#define THREADS 3
#define PARTIES 2
#define ROUNDS 16

byte arrived, resets, round;
bool sleepers, broken;

byte ended_round[3], ended_resets[3]; /* resets + 1; 0: none yet */

bool asleep[THREADS];
byte told[ROUNDS];     /* how often "completed" was told of a round: one bit for each index */
bool completed[ROUNDS];

inline wake_all()
{
    asleep[0] = false; asleep[1] = false; asleep[2] = false
}

/* The exchange, and then the wake, which may come late. */
inline break_it(from_round, from_resets)
{
    atomic {
        changed = false;
        if
        :: !broken && round == from_round && resets == from_resets ->
            broken = true; arrived = 0; slept = sleepers; sleepers = false; changed = true
        :: else
        fi
    }
    if
    :: changed && slept -> wake_all()
    :: else
    fi;
    slept = false
}

proctype party(byte me; bool gives_up; byte passes)
{
    byte mine, mine_resets, index, pass;
    bool changed, slept, failed, is_last;

    do
    :: pass == passes -> break
    :: else ->
        pass++;
        failed = false;
        /* Arrive: one exchange, which completes the round for the last one. */
        atomic {
            if
            :: broken -> goto next
            :: else
            fi;
            mine = round; mine_resets = resets;
            arrived++;
            index = PARTIES - arrived;
            assert(index < PARTIES);
            is_last = arrived == PARTIES;
            if
            :: is_last ->
                completed[round] = true;
                round++; arrived = 0; slept = sleepers; sleepers = false
            :: else
            fi
        }
        if
        :: is_last ->
            if
            :: slept -> wake_all()
            :: else
            fi;
            slept = false;
            atomic { assert(!(told[mine] & 1)); told[mine] = told[mine] | 1 }
            goto next
        :: else
        fi;
look:
        /* Is the round over? How it went is told by the same look, or by what a reset has kept. */
        atomic {
            if
            :: resets == mine_resets && round == mine && !broken -> goto wait
            :: resets == mine_resets && round == mine && broken -> goto next
            :: resets == mine_resets && round != mine -> skip
            :: else -> goto late
            fi;
            assert(completed[mine] && !(told[mine] & (1 << index)));
            told[mine] = told[mine] | (1 << index);
            goto next
        }
late:
        atomic {
            assert(ended_resets[mine_resets] == mine_resets + 1);
            if
            :: ended_round[mine_resets] == mine -> assert(!completed[mine])
            :: else ->
                assert(completed[mine] && !(told[mine] & (1 << index)));
                told[mine] = told[mine] | (1 << index)
            fi;
            goto next
        }
wait:
        if
        :: failed ->
            break_it(mine, mine_resets);
            if
            :: changed -> goto next
            :: else -> goto look
            fi
        :: else
        fi;
        /* Set SLEEPERS in the state as it is, then sleep if the round and BROKEN are unchanged. */
        atomic {
            if
            :: resets == mine_resets && round == mine && !broken -> sleepers = true
            :: else -> goto look
            fi
        }
        atomic {
            if
            :: round == mine && !broken -> asleep[me] = true
            :: else
            fi
        }
        if
        :: !asleep[me]
        :: gives_up -> atomic { asleep[me] = false; failed = true }
        fi;
        goto look;
next:
        atomic { mine = 0; mine_resets = 0; index = 0; changed = false; failed = false; is_last = false }
    od
}

proctype resetter()
{
    byte n, seen, seen_resets;
    bool changed, slept;

    do
    :: n == 2 -> break
    :: else ->
        n++;
        atomic { seen = round; seen_resets = resets }
        do
        :: atomic { resets != seen_resets -> break }
        :: atomic { resets == seen_resets && !broken -> seen = round }
            break_it(seen, seen_resets);
            atomic { changed = false; seen = 0 }
        :: atomic { resets == seen_resets && broken -> seen = round }
            atomic { ended_round[seen_resets] = seen; ended_resets[seen_resets] = seen_resets + 1 }
            atomic {
                if
                :: broken && resets == seen_resets && round == seen -> round++; resets++; broken = false
                :: else
                fi;
                seen = 0
            }
        od
    od;
    /* Let those go who are alone now. */
    do
    :: atomic { broken -> break }
    :: atomic { !broken -> seen = round; seen_resets = resets }
        break_it(seen, seen_resets)
    od
}

init {
    byte i;

    atomic { run party(0, false, 2); run party(1, true, 1); run party(2, false, 2); run resetter() }
    _nr_pr == 1;
    i = 0;
    do
    :: i == ROUNDS -> break
    :: else -> assert(told[i] == (completed[i] -> 3 : 0)); i++
    od
}
