/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: a worker that tells why nobody can work in its pool. */
#include "kill/world.h"

#include <string.h>

#include "exec/pool_failure.h"

enum { CHILD = 3, OTHER = 4, CODE = 44 };

#define REASON "no licence for a worker"

static struct plait__pool_failure *failure; /* in the arena */

static void no_failure(void)
{
    if (plait_arena_alloc(arena, sizeof *failure, (void **)&failure))
        abort();
    memset(failure, 0, sizeof *failure);
}

static void tell(void)
{
    step_page->out = plait__failure_tell(failure, CHILD, CODE, REASON);
}

static const char *it_is_told_or_left_or_untouched(bool done)
{
    const char *wrong = NULL;

    if (plait__failure_is_told(failure)) {
        if (failure->worker != CHILD || failure->code != CODE || strcmp(failure->text, REASON) != 0)
            wrong = "what is told is not whole";
        else if (plait__failure_tell(failure, OTHER, 0, "") || plait__failure_is_left(failure, CHILD))
            wrong = "it is told and is not";
    } else if (done) {
        wrong = "it is not told";
    } else if (plait__failure_is_left(failure, CHILD)) {
        if (plait__failure_tell(failure, OTHER, CODE, ""))
            wrong = "two tell it";
    } else if (!plait__failure_tell(failure, OTHER, CODE, "") || !plait__failure_is_told(failure)) {
        wrong = "nobody can tell it any more";
    }
    plait_arena_dealloc(arena, failure);
    return wrong ? wrong : checked();
}

static const struct step_op ops[] = {
    { .name = "failure tell", .prepare = no_failure, .before = take_part, .operate = tell,
      .verify = it_is_told_or_left_or_untouched },
};

const struct step_table step_failure = { ops, sizeof ops / sizeof ops[0] };
