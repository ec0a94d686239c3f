/* SPDX-License-Identifier: MIT */
/*
 * How it works: each tool knows its own requests and passes over those of the others, so both are made. Outside valgrind a request
 * is a few instructions without effect.
 *
 * Helgrind forgets orders by address alone, so there is a call for each word; DRD forgets them with the memory.
 */
#include "base/races.h"

#include <stdint.h>

#include <valgrind/helgrind.h>
/* After it, so that it leaves the names ANNOTATE_... to it. */
#include <valgrind/drd.h>

#include "base/tls.h"

/* What a thread is about to give to pthread_once, whose function has no argument. */
struct once_call {
    pthread_once_t *once;
    void (*function)(void);
};

static PLAIT_TLS struct once_call running;

#define DRD(request, address, size) VALGRIND_DO_CLIENT_REQUEST_STMT(VG_USERREQ__DRD_##request, address, size, 0, 0, 0)

void plait__races_before(const void *address)
{
    ANNOTATE_HAPPENS_BEFORE((void *)address);
    DRD(ANNOTATE_HAPPENS_BEFORE, address, 0);
}

void plait__races_after(const void *address)
{
    ANNOTATE_HAPPENS_AFTER((void *)address);
    DRD(ANNOTATE_HAPPENS_AFTER, address, 0);
}

void plait__races_word(const void *address, size_t size)
{
    VALGRIND_HG_DISABLE_CHECKING(address, size);
    DRD(START_SUPPRESSION, address, size);
}

void plait__races_forget(const void *address, size_t size)
{
    const char *at = address;

    if (!RUNNING_ON_VALGRIND)
        return;
    for (size_t i = 0; i < size; i += sizeof(uint32_t))
        ANNOTATE_HAPPENS_BEFORE_FORGET_ALL((void *)(at + i));
    VALGRIND_HG_CLEAN_MEMORY(address, size); /* DRD's has the same number */
}

static void run_and_tell(void)
{
    struct once_call mine = running; /* the function may make such a call itself */

    mine.function();
    plait__races_before(mine.once);
}

int plait__races_once(pthread_once_t *once, void (*function)(void))
{
    struct once_call outer = running;
    int err;

    running = (struct once_call){ once, function };
    err = pthread_once(once, run_and_tell);
    running = outer;
    plait__races_after(once);
    return err;
}

void plait__races_address_only(bool begins)
{
    if (begins)
        VALGRIND_DISABLE_ERROR_REPORTING;
    else
        VALGRIND_ENABLE_ERROR_REPORTING;
}
