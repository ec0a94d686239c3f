/* SPDX-License-Identifier: MIT */
/* Signal: wait for signals as for any object. */
#ifndef PLAIT_SIGNAL_H
#define PLAIT_SIGNAL_H

#include <stddef.h>
#include <sys/types.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_signal_t - a handle on a set of signals of this process; what arrives is kept until a waiter takes it.
 *
 *     static const int stop[] = { SIGTERM, SIGHUP, 0 };
 *
 *     int main(void)
 *     {
 *         plait_signal_block(stop);                   // before any thread is started
 *         ...
 *         plait_signal_new(&s, &(struct plait_signal_opts){ .signals = stop });
 *         while (plait_signal_wait(s, &info, PLAIT_FOREVER) == 0 && info.number == SIGHUP)
 *             read_configuration();
 *         plait_queue_close(jobs);                    // SIGTERM: no more, finish what is there
 *
 * or, beside other objects, plait_any_signal_wait(s, &info) for plait_wait_any.
 *
 * The program blocks the signals, in all threads, before any is started: they inherit the mask. Nothing is done behind
 * its back: no handler is installed, no disposition changed, no mask but by plait_signal_block, and a signal that no object
 * is for is never touched. A signal that some thread does not block does there what it always did.
 *
 * Each object is like a process of its own: every one of several for the same signal sees it. It keeps what
 * arrives as the kernel does: a standard signal once, until it is taken, with the newest information; real-time signals
 * one by one, in order, up to a depth. Each is taken by one waiter. What the process had pending when the first object
 * for that signal was made, arrives at once.
 *
 * The signal must have been sent to the process (kill, sigqueue, the terminal, a timer): raise and
 * pthread_kill send to one thread, where only that thread could find it. Ignored signals arrive too, but for an
 * ignored SIGCHLD, which the kernel never sends.
 *
 * One thread of the library, with two descriptors, takes the signals for all objects; there is none before the first object
 * is made, nor after the last one is freed. A child after fork has the objects, empty; its thread is started when it
 * first waits.
 */
typedef struct plait_signal plait_signal_t;

/* Options of plait_signal_new; zero is the default of each but signals. */
struct plait_signal_opts {
    const int *signals; /* their numbers, ended by 0; copied */
    unsigned depth;     /* real-time signals kept at one time, at most 65536; 0: 64 */
};

/* What the kernel tells of a signal; 0 where it tells nothing. */
struct plait_signal_info {
    int number;    /* SIGTERM, say */
    int code;      /* how it was sent: si_code of sigaction(2) */
    pid_t pid;     /* the sender; of SIGCHLD: the child */
    uid_t uid;     /* of that process */
    int status;    /* of SIGCHLD: exit code or signal */
    int fd;        /* of SIGIO: the descriptor */
    int value;     /* what sigqueue or a timer gave along, as a number */
    void *pointer; /* the same, as a pointer */
};

/*
 * Block the signals, whose numbers are ended by 0, in the calling thread and those that it will start: pthread_sigmask in one
 * line. EINVAL, and nothing done: one of them cannot be waited for, as below.
 */
PLAIT_API int plait_signal_block(const int *signals);

/*
 * Make an object. EINVAL: no signal, or one that there is not; SIGKILL and SIGSTOP, which nobody can wait for, and SIGSEGV,
 * SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, the marks of faults; one that the caller does not block; an absurd depth.
 * EAGAIN, ENOMEM, EMFILE, ENFILE: no thread, memory or descriptor. ENOSYS: the kernel has no signalfd.
 */
PLAIT_API int plait_signal_new_sized(plait_signal_t **signal_out, const struct plait_signal_opts *opts,
                                     size_t opts_size);

PLAIT_API int plait_signal_new(plait_signal_t **signal_out, const struct plait_signal_opts *opts);
PLAIT_INLINE_ALWAYS int plait_signal_new(plait_signal_t **signal_out, const struct plait_signal_opts *opts)
{
    return plait_signal_new_sized(signal_out, opts, sizeof(struct plait_signal_opts));
}

/*
 * Take the signal that arrived first, waiting for one until the deadline; *info_out (may be NULL) receives what the
 * kernel tells of it. Returns
 *   0          taken
 *   ETIMEDOUT  none arrived by the deadline
 *   ECANCELED  the caller's cancel token was set first; nothing taken
 *   EAGAIN, ENOMEM, EMFILE, ENFILE  in a child after fork: as plait_signal_new
 * Not for signal handlers.
 */
PLAIT_API int plait_signal_wait(plait_signal_t *signal, struct plait_signal_info *info_out,
                                plait_time_t deadline);

/* plait_signal_wait as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_signal_wait(plait_signal_t *signal, struct plait_signal_info *info_out);

/* How often the signal `number` has arrived (0: any of the set), taken or not: those seen, as the kernel merges too. */
PLAIT_API unsigned long long plait_signal_count(const plait_signal_t *signal, int number);

/* How many real-time signals were dropped because `depth` of them were there. */
PLAIT_API unsigned long long plait_signal_lost(const plait_signal_t *signal);

/* Drop the object; NULL is allowed; nobody may be waiting. What was not taken is gone. Always 0. */
PLAIT_API int plait_signal_free(plait_signal_t *signal);

PLAIT_END_DECLS

#endif
