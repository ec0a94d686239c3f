/* SPDX-License-Identifier: MIT */
/* Feeder: the one thread that takes signals from the kernel. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/thread.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "exec/helper.h"
#include "exec/signal.h"

/*
 * How it works
 *
 * The thread polls a signalfd, which tells that one of the wanted signals is pending, and an eventfd, the bell that
 * ends it. It takes the signals not by reading the descriptor but by sigtimedwait, with
 * the lock held and for the set that is wanted at that moment: so a signal whose last object was just freed stays
 * pending in the kernel, as if there had been no object. Another thread changes the set by giving the signalfd another mask,
 * which makes the kernel look again for those who poll it.
 *
 * All signals but those of faults are blocked in the thread, so it runs no handler of the program.
 *
 * A child after fork has no feeder: its handler closes the copies of the descriptors, because their open files are
 * the parent's and a mask given to one would be given to the parent's feeder. After _Fork or raw clone, which run no
 * handlers, the fork epoch tells; the descriptors stay then, as their numbers may have been given to others.
 */

struct plait__feeder {
    int signals;            /* const: signalfd, its mask is `wanted` */
    int bell;               /* const: eventfd */
    plait_thread_t *thread; /* const */
    uint32_t epoch;         /* const: of the process that it runs in */
};

static struct plait__feeder *feeder; /* guarded by plait__signal_lock */
static sigset_t wanted;              /* guarded by plait__signal_lock */

/* Which members of siginfo_t mean something depends on the code: they share memory. */
static struct plait_signal_info told(const siginfo_t *from)
{
    struct plait_signal_info info = { .number = from->si_signo, .code = from->si_code };

    if (from->si_code == SI_QUEUE || from->si_code == SI_TIMER || from->si_code == SI_MESGQ) {
        info.value = from->si_value.sival_int;
        info.pointer = from->si_value.sival_ptr;
    }
    if ((from->si_code <= 0 && from->si_code != SI_TIMER) || from->si_signo == SIGCHLD) {
        info.pid = from->si_pid;
        info.uid = from->si_uid;
    }
    if (from->si_code > 0 && from->si_signo == SIGCHLD)
        info.status = from->si_status;
    if (from->si_code > 0 && from->si_signo == SIGIO)
        info.fd = from->si_fd;
    return info;
}

static void take_all(void)
{
    static const struct timespec at_once;
    siginfo_t info;
    int number;

    pthread_mutex_lock(&plait__signal_lock);
    do {
        number = sigtimedwait(&wanted, &info, &at_once);
        if (number > 0) {
            struct plait_signal_info news = told(&info);

            plait__signal_deliver(&news);
        }
    } while (number > 0 || errno == EINTR);
    pthread_mutex_unlock(&plait__signal_lock);
}

static void *feed(void *arg)
{
    const struct plait__feeder *self = arg;
    struct pollfd polled[2] = { { .fd = self->signals, .events = POLLIN }, { .fd = self->bell, .events = POLLIN } };

    do {
        if (poll(polled, 2, -1) > 0 && polled[0].revents)
            take_all();
    } while (!polled[1].revents && !(polled[0].revents & POLLNVAL)); /* closed by somebody else: do not run wild */
    return NULL;
}

static int start_thread(struct plait__feeder *f)
{
    sigset_t before;
    int err = plait_thread_new(&f->thread, &(struct plait_thread_opts){ .target = feed, .arg = f, .daemon = true,
                                                                        .name = "plait-signals" });

    if (err)
        return err;
    plait__helper_mask(&before);
    err = plait_thread_start(f->thread);
    plait__helper_unmask(&before);
    if (err)
        plait_thread_free(f->thread);
    return err;
}

static int start(const sigset_t *set)
{
    struct plait__feeder *f = calloc(1, sizeof *f);
    int err;

    if (!f)
        return ENOMEM;
    f->epoch = plait__fork_epoch_renew();
    f->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->bell < 0)
        goto release;
    f->signals = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->signals < 0)
        goto close_bell;
    wanted = *set;
    err = start_thread(f);
    if (err == 0) {
        feeder = f;
        return 0;
    }
    errno = err;
    close(f->signals);
close_bell:
    close(f->bell);
release:
    err = errno;
    free(f);
    return err;
}

int plait__feeder_is_here(void)
{
    return feeder && feeder->epoch == plait__fork_epoch();
}

int plait__feeder_want(const sigset_t *set)
{
    if (!plait__feeder_is_here())
        return start(set);
    if (signalfd(feeder->signals, set, 0) < 0)
        return errno;
    wanted = *set;
    return 0;
}

struct plait__feeder *plait__feeder_detach(void)
{
    struct plait__feeder *ours = plait__feeder_is_here() ? feeder : NULL;

    feeder = NULL;
    sigemptyset(&wanted);
    return ours;
}

void plait__feeder_end(struct plait__feeder *f)
{
    plait_cancel_t *token;
    uint64_t ring = 1;

    if (!f)
        return;
    while (write(f->bell, &ring, sizeof ring) < 0 && errno == EINTR)
        ;
    token = plait_cancel_bind(NULL);
    plait_thread_join(f->thread, NULL, PLAIT_FOREVER);
    plait_cancel_bind(token);
    plait_thread_free(f->thread);
    close(f->signals);
    close(f->bell);
    free(f);
}

void plait__feeder_forget(void)
{
    if (!feeder)
        return;
    close(feeder->signals);
    close(feeder->bell);
    plait_thread_free(feeder->thread);
    free(feeder);
    feeder = NULL;
}
