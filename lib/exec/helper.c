/* SPDX-License-Identifier: MIT */
#include "exec/helper.h"

#include <pthread.h>
#include <stddef.h>

void plait__helper_mask(sigset_t *before_out)
{
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
    sigset_t all;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, before_out);
}

void plait__helper_unmask(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

int plait__helper_start(void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t before;
    int err = pthread_attr_init(&attr);

    if (err)
        return err;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    plait__helper_mask(&before);
    err = pthread_create(&thread, &attr, run, arg);
    plait__helper_unmask(&before);
    pthread_attr_destroy(&attr);
    return err;
}
