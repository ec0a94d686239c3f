/* SPDX-License-Identifier: MIT */
/* Failure: why nobody can work in a pool. */
#include <stdio.h>

#include "base/atomic.h"
#include "exec/pool_failure.h"

/*
 * E1  Who moves `word` from 0 to its own number writes the rest, and then stores 1 with release: whoever sees that reads what it wrote.
 *     There is one such writer at most, and a worker that is not the one leaves it at that. So if the writer dies in between, nothing
 *     will ever be told, and only its number in the word says so: who buries the dead must look.
 */

enum { TOLD = 1, FIRST_WORKER = 2 };

bool plait__failure_tell(struct plait__pool_failure *failure, unsigned worker, int code, const char *text)
{
    uint32_t none = 0;

    if (!cas_acqrel(&failure->word, &none, FIRST_WORKER + worker)) /* E1 */
        return false;
    failure->worker = worker;
    failure->code = code;
    snprintf(failure->text, sizeof failure->text, "%s", text);
    store_release(&failure->word, TOLD); /* E1 */
    return true;
}

bool plait__failure_is_told(const struct plait__pool_failure *failure)
{
    return load_acquire(&failure->word) == TOLD; /* E1 */
}

bool plait__failure_is_left(const struct plait__pool_failure *failure, unsigned worker)
{
    return load_acquire(&failure->word) == FIRST_WORKER + worker; /* E1 */
}
