/* SPDX-License-Identifier: MIT */
#include "queue/guard.h"

int plait__guard_after_death(plait_rwlock_t *lock, plait__repair_fn *repair, void *structure, bool reads)
{
    int err = repair(structure);

    if (err) {
        plait_rwlock_release(lock); /* not consistent: not recoverable from here on */
        return ENOTRECOVERABLE;
    }
    err = plait_rwlock_consistent(lock);
    if (err == 0 && reads) {
        err = plait_rwlock_downgrade(lock);
        if (err)
            plait_rwlock_release(lock);
    }
    return err;
}
