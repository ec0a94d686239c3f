/* SPDX-License-Identifier: MIT */
/* Pool on processes: the texts that say how a worker, or a task with it, has ended. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "exec/oom.h"
#include "exec/pool_processes.h"

bool plait__pool_memory_ran_out(struct pool *pool)
{
    uint64_t before = pool->oom_kills;

    pool->oom_kills = plait__oom_kills("");
    return pool->oom_kills > before;
}

void plait__pool_describe_end(char text[TASK_TEXT], struct pool *pool, const struct worker *worker, enum plait__child_state state, int status)
{
    int pid = (int)worker->child.pid;

    if (state == PLAIT__CHILD_LOST)
        snprintf(text, TASK_TEXT, "worker %d was lost with the nursery", pid);
    else if (WIFSIGNALED(status))
        snprintf(text, TASK_TEXT, "worker %d was killed by signal %d (%s)%s", pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL && plait__pool_memory_ran_out(pool) ? ", as memory ran out" : "");
    else
        snprintf(text, TASK_TEXT, "worker %d exited with status %d", pid, WEXITSTATUS(status));
}

void plait__pool_describe_deafness(char text[TASK_TEXT], const struct worker *worker, const struct plait__pool_extra *extra)
{
    snprintf(text, TASK_TEXT, "it was cancelled, and still ran %g s later; worker %d was told to end",
             (double)extra->work.grace / (double)PLAIT__SECOND, (int)worker->child.pid);
}

void plait__pool_describe_lateness(char text[TASK_TEXT], const struct worker *worker, const struct plait__pool_extra *extra)
{
    snprintf(text, TASK_TEXT, "it ran longer than its limit of %g s; worker %d was told to end",
             (double)extra->work.limit / (double)PLAIT__SECOND, (int)worker->child.pid);
}
