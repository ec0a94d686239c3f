/* SPDX-License-Identifier: MIT */
/* The error codes of libplait, and what they mean in words. */
#ifndef PLAIT_ERROR_H
#define PLAIT_ERROR_H

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * A function of libplait that can fail returns an int: 0, or a positive number of <errno.h>.
 * errno itself carries no answer. The vocabulary is small, and a code means the same everywhere:
 *
 *     0                the operation was done
 *     ETIMEDOUT        the deadline passed first; also when it was PLAIT_NOW
 *     EPIPE            closed: nothing more can go in, or come out
 *     ECANCELED        a cancel token ended the wait, or the task was cancelled
 *     EOWNERDEAD       a holder or worker died; of a lock: the caller holds it now
 *     ENOTRECOVERABLE  a holder died, and nobody made the data consistent again
 *     EPERM            the caller is not the owner
 *     EDEADLK          the caller would wait for itself
 *     EOVERFLOW        released more than acquired, or a counter is full
 *     EINVAL           an argument is outside what the contract allows
 *     ENOMEM           the process has no memory left
 *     ENOSPC           the arena has no room left
 *     EBUSY            still in use by somebody else
 *     EBADMSG          the arena is damaged or was made by an incompatible program
 *     ENOSYS           this machine or kernel cannot do it
 *     ENOENT           nothing has that name or key, or nothing is there yet
 *     EEXIST           the name is taken
 *     EMSGSIZE         what is there has another size than the room for it
 *     EAGAIN           not as it was, or not now: look again
 */

/*
 * Explain a code in one short English phrase, without a full stop.
 *
 * For the codes above the phrase says what the code means in libplait, which is sharper than
 * strerror(3); for any other number, negative ones included, it is one fixed phrase. Never NULL; the
 * string is static and never changes. Any caller, signal handlers included; does not block,
 * allocate or touch errno.
 */
PLAIT_API const char *plait_strerror(int code);

PLAIT_END_DECLS

#endif
