/* SPDX-License-Identifier: MIT */
/*
 * Two locks in opposite order: a deadlock that may come once in a million runs, and debug mode, which reports it
 * in the first, before it happens.
 *
 *     cc deadlock.c $(pkg-config --cflags --libs plait) && ./a.out
 *
 * Money goes from one account to another with both locked, the giver's first. Two transfers in opposite directions can
 * deadlock. Here they run one after the other, and nothing happens; but the order is reported. Then they
 * meet half way, each waits for the other, and only the deadline saves them. At last one lock guards both accounts: a
 * transfer acquires it twice, so it is an rlock, and all goes well.
 */
#include <plait.h>
#include <stdio.h>

static struct account {
    plait_lock_t lock;
    long balance; /* guarded by lock; at last by `both` */
} ann, bob;

static plait_rlock_t both;

struct transfer {
    struct account *from, *to;
    plait_event_t *mine, *others; /* where they meet: half way, and at the end; NULL: they do not */
    int err;
};

/* Wait until the other one is there as well. */
static void meet(struct transfer *t, int place)
{
    if (!t->mine)
        return;
    plait_event_set(&t->mine[place]);
    plait_event_wait(&t->others[place], PLAIT_FOREVER);
}

static void *transfer(void *arg)
{
    struct transfer *t = arg;

    plait_lock_acquire(&t->from->lock, PLAIT_FOREVER);
    meet(t, 0);
    t->err = plait_lock_acquire(&t->to->lock, plait_after(0.2));
    if (t->err == 0) {
        t->from->balance -= 10;
        t->to->balance += 10;
        plait_lock_release(&t->to->lock);
    }
    meet(t, 1); /* without a deadline neither would ever come here */
    plait_lock_release(&t->from->lock);
    return NULL;
}

static void *transfer_with_rlock(void *arg)
{
    struct transfer *t = arg;

    plait_rlock_acquire(&both, PLAIT_FOREVER);
    t->from->balance -= 10;
    plait_rlock_acquire(&both, PLAIT_FOREVER);
    t->to->balance += 10;
    plait_rlock_release(&both);
    plait_rlock_release(&both);
    t->err = 0;
    return NULL;
}

static plait_thread_t *start(void *(*target)(void *), struct transfer *t, const char *name)
{
    plait_thread_t *thread = NULL;

    plait_thread_new(&thread, &(struct plait_thread_opts){ .target = target, .arg = t, .name = name });
    plait_thread_start(thread);
    return thread;
}

static void end(plait_thread_t *thread)
{
    plait_thread_join(thread, NULL, PLAIT_FOREVER);
    plait_thread_free(thread);
}

static void print(const struct plait_debug_report *report, void *unused)
{
    (void)unused;
    fputs(report->text, stdout);
}

int main(void)
{
    static plait_event_t givers[2], returners[2];
    struct transfer give = { .from = &ann, .to = &bob }, back = { .from = &bob, .to = &ann };
    plait_thread_t *giver, *returner;

    plait_debug_set_handler(print, NULL);
    plait_debug_start("wait=0");

    puts("one after the other:");
    end(start(transfer, &give, "give"));
    end(start(transfer, &back, "back"));

    puts("at one time:");
    give.mine = back.others = givers;
    give.others = back.mine = returners;
    giver = start(transfer, &give, "give");
    returner = start(transfer, &back, "back");
    end(giver);
    end(returner);
    printf("give: %s, back: %s\n", plait_strerror(give.err), plait_strerror(back.err));

    puts("with an rlock:");
    giver = start(transfer_with_rlock, &give, "give");
    returner = start(transfer_with_rlock, &back, "back");
    end(giver);
    end(returner);
    printf("give: %s, back: %s\n", plait_strerror(give.err), plait_strerror(back.err));
    return 0;
}
