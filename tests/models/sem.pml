/* SPDX-License-Identifier: MIT */
/*
 * The semaphore of lib/sync/sem.c: value, SEVERAL and SLEEPERS in one word, and the chain by which a woken sleeper wakes
 * the next.
 *
 * One acquirer wants one permit, one wants one or two, one gives up whenever it likes and puts back what it got; two
 * releasers give as many as they want. There is enough for all, so over all interleavings everybody must come to
 * an end: no wake is lost, though releases take the flags off while others sleep.
 */
#define THREADS 3

#define SEVERAL 8
#define SLEEPERS 16
#define VALUE(v) ((v) & 7)

byte word;
bool asleep[THREADS];

inline wake(count, all)
{
    atomic {
        n = count;
        do
        :: (n > 0 || all) && asleep[0] -> asleep[0] = false; if :: n > 0 -> n-- :: else fi
        :: (n > 0 || all) && asleep[1] -> asleep[1] = false; if :: n > 0 -> n-- :: else fi
        :: (n > 0 || all) && asleep[2] -> asleep[2] = false; if :: n > 0 -> n-- :: else fi
        :: !(n > 0 || all) -> break
        :: !asleep[0] && !asleep[1] && !asleep[2] -> break
        od;
        n = 0
    }
}

/* The inlined addition, which leaves the flags, or the slow release's exchange, which takes them off. */
inline release(count)
{
    if
    :: atomic { old = word; word = word + count }
    :: atomic { old = word; word = VALUE(word) + count }
    fi;
    if
    :: old & SLEEPERS -> wake(count, (old & SEVERAL))
    :: else
    fi;
    old = 0
}

proctype acquirer(byte me; byte wants; bool gives_up)
{
    byte v, mine, slept, old, n;
    bool failed;

    mine = SLEEPERS | (wants > 1 -> SEVERAL : 0);
    v = word;
    do
    :: VALUE(v) >= wants ->                         /* take */
        atomic {
            if
            :: word == v -> word = (v - wants) | slept; v = word
            :: else -> v = word; goto again
            fi
        }
        if
        :: slept && VALUE(v) -> wake(1, (v & SEVERAL))
        :: else
        fi;
        break
    :: VALUE(v) < wants && failed ->                /* leave */
        if
        :: slept ->
            atomic { v = word; word = word | slept }
            if
            :: VALUE(v) -> wake(1, ((v | slept) & SEVERAL))
            :: else
            fi
        :: else
        fi;
        goto end
    :: VALUE(v) < wants && !failed && (v & mine) != mine ->
        atomic { if :: word == v -> word = v | mine; v = word :: else -> v = word fi }
    :: VALUE(v) < wants && !failed && (v & mine) == mine ->
        atomic { if :: word == v -> asleep[me] = true :: else fi }
        if
        :: !asleep[me]
        :: gives_up -> atomic { asleep[me] = false; failed = true }
        :: gives_up && !asleep[me] -> failed = true
        fi;
        slept = mine;
        v = word;
again:  skip
    od;
    if
    :: gives_up -> release(wants)
    :: else
    fi;
end:
    skip
}

proctype releaser(byte count)
{
    byte old, n;

    release(count)
}

init {
    atomic {
        run acquirer(0, 1, false); run acquirer(2, 1, true); run releaser(1);
        if
        :: run acquirer(1, 1, false); run releaser(1)
        :: run acquirer(1, 2, false); run releaser(2)
        fi
    }
    _nr_pr == 1;
    assert(VALUE(word) == 0)
}
