/* SPDX-License-Identifier: MIT */
/* Objects and file descriptors waited for together: in a program's poll loop (watch), or in plait_wait_any. */
#ifndef PLAIT_WATCH_H
#define PLAIT_WATCH_H

#include <stdbool.h>

#include <plait/export.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_watch_t - an object in anybody's poll loop: select, poll, epoll, or a library's that takes descriptors. The operation is
 * an entry as plait_wait_any takes it; the watch never performs it, it only tells that it is worth trying.
 *
 *     plait_watch_t *watch;
 *     plait_watch_new(&watch, plait_any_queue_get(jobs, NULL));
 *     struct pollfd fds[] = { { plait_watch_fileno(watch), POLLIN, 0 }, { connection, POLLIN, 0 } };
 *
 *     for (;;) {
 *         while (plait_queue_get(jobs, &job, PLAIT_NOW) == 0)     // until there is none
 *             work(&job);
 *         plait_watch_arm(watch);                                 // so tell me of the next
 *         poll(fds, 2, -1);
 *         ...
 *     }
 *
 * States: armed, the descriptor cannot be read: the operation was not possible when it was last looked at; or told, it can: it was
 * possible. A new watch is told. plait_watch_arm arms it, unless the operation is possible at that moment: so nothing is
 * lost that comes between the last attempt and the arming. Once told, it stays so, and nobody looks at the object or
 * writes the descriptor until it is armed again. That the descriptor can be read is a hint: others may have been faster.
 *
 * Operations: get, put, commit and borrow of queues; get of subscribers (broadcast.h); send, recv, poll, commit and borrow of pipes; waits for events, latches,
 * wait groups, cancel tokens, signals, threads, processes, timers and futures; acquire of semaphores. Private or shared objects: if a
 * process dies between the change of a shared object and its wake, the watch tells in less than a second.
 *
 * While any watch of the process is armed or told, a thread of the library sleeps for it (one for 500 of them), with all signals
 * blocked; it ends with the last watch. A child of fork has none of its parent's watches: it may only free them, and makes its own.
 */
typedef struct plait_watch plait_watch_t;

/*
 * Make a watch for what `entry` does (its buffer is not used, and may be NULL). EINVAL: no operation that can be watched (locks,
 * latest values), or none. ENOMEM. EMFILE, ENFILE: no descriptor. EAGAIN: no thread.
 */
PLAIT_API int plait_watch_new(plait_watch_t **watch_out, struct plait_wait_entry entry);

/*
 * End it, and close the descriptor (take it out of epoll sets before); NULL is allowed. The object must live until then.
 * Always 0.
 */
PLAIT_API int plait_watch_free(plait_watch_t *watch);

/*
 * The descriptor: to be polled for reading (POLLIN), and for nothing else. It belongs to the watch: close-on-exec, not to be read,
 * written, or closed.
 */
PLAIT_API int plait_watch_fileno(const plait_watch_t *watch);

/* Tell of the next: see above. 0; EINVAL: this is a child, and the watch its parent's. */
PLAIT_API int plait_watch_arm(plait_watch_t *watch);

/* Has it told, and not been armed since? */
PLAIT_API bool plait_watch_is_told(const plait_watch_t *watch);

/*
 * The other way round: a file descriptor as an entry of plait_wait_any, beside objects. It can be performed when poll(2) would
 * report any of `events` (POLLIN, POLLOUT...), an error or a hang-up, which then is in *revents_out (may be NULL); nothing is read
 * or written. The answer is 0, or EBADF: not open. A file that cannot be polled is always ready.
 *
 *     struct plait_wait_entry entry[] = { plait_any_fd(connection, POLLIN, NULL), plait_any_queue_get(jobs, &job) };
 *
 * A descriptor that is closed while it is waited for stays so until the call returns. Where the kernel can sleep on words and
 * descriptors at once (io_uring, Linux 6.7), the first call of a thread that has to sleep makes a descriptor for it, which the thread
 * keeps. Elsewhere, and beyond 60 such entries, the first one starts a thread of the library, which sleeps too, with all
 * signals blocked, until the process ends, and a call that sleeps allocates memory for each such entry, and a descriptor;
 * without, it looks every few milliseconds.
 */
PLAIT_API struct plait_wait_entry plait_any_fd(int fd, short events, short *revents_out);

PLAIT_END_DECLS

#endif
