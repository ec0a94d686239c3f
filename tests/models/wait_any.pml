/* SPDX-License-Identifier: MIT */
/*
 * lib/wait/wait_any.c over two semaphores (lib/sync/sem.c): one waits for a permit of either, two others plainly for one, both of the
 * first or one of each. A release takes the sleepers' flag off and wakes one; the one sleep on two words can swallow a wake of each,
 * and is told of neither. The caller may also give up, with what it has swallowed.
 *
 * There are as many permits as are needed, released in any order. Over all interleavings: when nothing can move any more, nobody
 * sleeps beside a permit of his. Without delist, its flag, the flag that the winner leaves on, or its wake this does not hold.
 */
#define A 0
#define B 1
#define BOTH 0 /* who sleeps: the one that waits for any */
#define ONE 1
#define OTHER 2

byte value[2];
bool sleepers[2];      /* the flag in the word */
bool queued[6];        /* the kernel's: who is queued on which word: 2 * who + word */
bool asleep[3];
byte got[2];
byte wants[3];         /* by those who wait plainly: which word */

/* FUTEX_WAKE of one on a word: whoever is queued. Who is woken by one word is taken off the other only when it runs. */
inline wake_one(w)
{
    atomic {
        if
        :: queued[2 * BOTH + w] -> queued[2 * BOTH + w] = false; asleep[BOTH] = false
        :: queued[2 * ONE + w] -> queued[2 * ONE + w] = false; asleep[ONE] = false
        :: queued[2 * OTHER + w] -> queued[2 * OTHER + w] = false; asleep[OTHER] = false
        :: else
        fi
    }
}

inline release(w)
{
    atomic { was = sleepers[w]; sleepers[w] = false; value[w] = value[w] + 1 }
    if
    :: was -> wake_one(w)
    :: else
    fi
}

/* take: who is enlisted leaves the flag on, and wakes one more if there is something left. */
inline attempt(w, enlisted)
{
    atomic {
        if
        :: value[w] > 0 -> value[w] = value[w] - 1; have = true; sleepers[w] = sleepers[w] || enlisted
        :: else -> have = false
        fi;
        left = (value[w] > 0)
    }
    if
    :: have -> got[w]++
    :: else
    fi;
    if
    :: have && enlisted && left -> wake_one(w)
    :: else
    fi
}

/* leave */
inline delist(w)
{
    atomic { sleepers[w] = true; left = (value[w] > 0) }
    if
    :: left -> wake_one(w)
    :: else
    fi
}

/* enlist: the flag on, and a look, in one exchange. */
inline enlist(w)
{
    atomic {
        if
        :: value[w] > 0 -> ready = true
        :: else -> sleepers[w] = true
        fi
    }
}

proctype any(bool gives_up)
{
    bool have, left, ready, enlisted, failed;
    byte i;

    do
    :: true ->
        if /* in any order */
        :: true -> attempt(A, enlisted); i = A; if :: !have -> attempt(B, enlisted); i = B :: else fi
        :: true -> attempt(B, enlisted); i = B; if :: !have -> attempt(A, enlisted); i = A :: else fi
        fi;
        if
        :: have || failed -> break
        :: else
        fi;
        ready = false;
        enlist(A);
        if :: !ready -> enlist(B) :: else fi;
        enlisted = true;
        if
        :: ready
        :: else ->
            atomic { /* futex_waitv compares all words and sleeps, as one step */
                if
                :: value[A] == 0 && sleepers[A] && value[B] == 0 && sleepers[B] ->
                    asleep[BOTH] = true; queued[2 * BOTH + A] = true; queued[2 * BOTH + B] = true
                :: else
                fi
            }
endany:     if
            :: !asleep[BOTH]
            :: gives_up -> atomic { asleep[BOTH] = false; failed = true }
            fi;
            atomic { queued[2 * BOTH + A] = false };    /* only now off the queues: wakes in between are swallowed */
            atomic { queued[2 * BOTH + B] = false }
        fi
    od;
    if
    :: enlisted ->
        if :: !have || i != A -> delist(A) :: else fi;
        if :: !have || i != B -> delist(B) :: else fi
    :: else
    fi
}

proctype plain(byte me, w)
{
    bool have, left, ready, slept;

    do
    :: true ->
        attempt(w, slept);
        if
        :: have -> break
        :: else
        fi;
        ready = false;
        enlist(w);
        if
        :: ready
        :: else ->
            atomic {
                if
                :: value[w] == 0 && sleepers[w] -> asleep[me] = true; queued[2 * me + w] = true
                :: else
                fi
            }
endasleep:  /* to sleep for ever is right if nothing is left: see init */
            !asleep[me];
            atomic { queued[2 * me + w] = false };
            slept = true
        fi
    od
}

proctype releaser(byte w)
{
    bool was;

    release(w)
}

init {
    bool gives_up;
    byte other;

    atomic {
        if :: gives_up = true :: gives_up = false fi;
        if :: other = A :: other = B fi;
        wants[ONE] = A;
        wants[OTHER] = other;
        run any(gives_up);
        run plain(ONE, A);
        run plain(OTHER, other);
        run releaser(A);
        run releaser(A);
        run releaser(B)
    }
    timeout -> /* nothing moves: nobody sleeps beside a permit of his */
        assert(!(asleep[BOTH] && value[A] + value[B] > 0));
        assert(!(asleep[ONE] && value[wants[ONE]] > 0));
        assert(!(asleep[OTHER] && value[wants[OTHER]] > 0));
        assert(got[A] + value[A] == 2 && got[B] + value[B] == 1)
}
