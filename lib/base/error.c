/* SPDX-License-Identifier: MIT */
/* What the error codes mean, in the library's own words. */
#include <errno.h>

#include <plait/error.h>

const char *plait_strerror(int code)
{
    switch (code) {
    case 0:
        return "done";
    case ETIMEDOUT:
        return "the deadline passed";
    case EPIPE:
        return "closed";
    case ECANCELED:
        return "cancelled";
    case EOWNERDEAD:
        return "the holder or worker died";
    case ENOTRECOVERABLE:
        return "a holder died and its data was never made consistent";
    case EPERM:
        return "the caller is not the owner";
    case EDEADLK:
        return "the caller would wait for itself";
    case EOVERFLOW:
        return "released more than acquired, or the counter is full";
    case EINVAL:
        return "an argument is not allowed here";
    case ENOMEM:
        return "no memory left";
    case ENOSPC:
        return "no room left in the arena";
    case EBUSY:
        return "still in use";
    case EBADMSG:
        return "the arena is damaged or foreign";
    case ENOSYS:
        return "this machine cannot do it";
    case ENOENT:
        return "nothing has that name or key, or nothing is there yet";
    case EEXIST:
        return "the name is taken";
    case EMSGSIZE:
        return "what is there has another size than the room for it";
    case EAGAIN:
        return "not as it was, or not now: look again";
    default:
        return "not a code of libplait";
    }
}
