/* SPDX-License-Identifier: MIT */
/* Locks with priority inheritance: the contract of an owned lock, and the inversion that they are for. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/stage.h"

struct scene {
    plait_lock_t lock;
    plait_event_t go;
    plait_cancel_t token;
    uint32_t phase; /* atomic */
    int seen;       /* guarded by lock */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *s = stage_alloc(stage, sizeof *s);
    int err;

    assert_non_null(s);
    err = plait_lock_init(&s->lock, stage->flags | PLAIT_PRIO_INHERIT);
    if (err == ENOSYS)
        skip();
    assert_int_equal(err, 0);
    assert_int_equal(plait_event_init(&s->go, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&s->token, stage->flags), 0);
    return s;
}

static void lock_is_owned(void **state)
{
    struct scene *s = scene_of(*state);

    assert_false(plait_lock_is_locked(&s->lock));
    assert_int_equal(plait_lock_release(&s->lock), EPERM);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), 0);
    assert_true(plait_lock_is_locked(&s->lock));
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(plait_lock_fini(&s->lock), EBUSY);
    assert_int_equal(plait_lock_consistent(&s->lock), EINVAL);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_lock_fini(&s->lock), 0);
}

static void rlock_counts_levels(void **state)
{
    struct stage *stage = *state;
    plait_rlock_t *rlock = stage_alloc(stage, sizeof *rlock);
    int err;

    assert_non_null(rlock);
    err = plait_rlock_init(rlock, stage->flags | PLAIT_PRIO_INHERIT);
    if (err == ENOSYS)
        skip();
    assert_int_equal(err, 0);
    assert_int_equal(plait_rlock_acquire(rlock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_rlock_acquire(rlock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_rlock_depth(rlock), 2);
    assert_int_equal(plait_rlock_release(rlock), 0);
    assert_true(plait_rlock_is_locked(rlock));
    assert_int_equal(plait_rlock_release(rlock), 0);
    assert_int_equal(plait_rlock_release(rlock), EPERM);
    assert_int_equal(plait_rlock_fini(rlock), 0);
}

static void try_and_wait_a_little(struct worker *self)
{
    struct scene *s = self->with;

    if (plait_lock_acquire(&s->lock, PLAIT_NOW) != ETIMEDOUT)
        self->result = 1;
    else if (plait_lock_acquire(&s->lock, plait_after(0.01)) != ETIMEDOUT)
        self->result = 2;
    else if (plait_lock_release(&s->lock) != EPERM)
        self->result = 3;
    else
        self->result = 0;
}

static void lock_held_by_another_times_out(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), 0);
    assert_int_equal(worker_result(worker_start(stage, try_and_wait_a_little, s)), 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
}

static void count_to_1000(struct worker *self)
{
    struct scene *s = self->with;

    for (int i = 0; i < 1000; i++) {
        int err = plait_lock_acquire(&s->lock, PLAIT_FOREVER);

        if (err) {
            self->result = err;
            return;
        }
        s->seen++;
        if (i % 100 == 0)
            sched_yield();
        plait_lock_release(&s->lock);
    }
    self->result = 0;
}

static void lock_excludes(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *w[4];

    for (int i = 0; i < 4; i++)
        w[i] = worker_start(stage, count_to_1000, s);
    for (int i = 0; i < 4; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_int_equal(s->seen, 4000);
    assert_false(plait_lock_is_locked(&s->lock));
}

static void hold_and_die(struct worker *self)
{
    struct scene *s = self->with;

    plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    plait_event_wait(&s->go, PLAIT_FOREVER);
    worker_die(self);
}

static void take_over(struct worker *self)
{
    struct scene *s = self->with;

    worker_says(self, 1);
    self->result = plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD && plait_lock_consistent(&s->lock) != 0)
        self->result = -1;
    plait_lock_release(&s->lock);
}

static void death_of_the_holder_is_told_to_one(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *holder = worker_start(stage, hold_and_die, s), *w[3];
    int told = 0;

    assert_true(worker_said(holder, 1));
    for (int i = 0; i < 3; i++) {
        w[i] = worker_start(stage, take_over, s);
        assert_true(worker_sleeps(w[i], 1));
    }
    plait_event_set(&s->go);
    worker_join(holder);
    for (int i = 0; i < 3; i++) {
        int result = worker_result(w[i]);

        assert_true(result == 0 || result == EOWNERDEAD);
        told += result == EOWNERDEAD;
    }
    assert_int_equal(told, 1);
}

static void death_without_repair_ends_the_lock(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *holder = worker_start(stage, hold_and_die, s);

    plait_event_set(&s->go);
    worker_join(holder);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), EOWNERDEAD);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), ENOTRECOVERABLE);
}

static void wait_bound(struct worker *self)
{
    struct scene *s = self->with;

    plait_cancel_bind(&s->token);
    worker_says(self, 1);
    self->result = plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    plait_cancel_bind(NULL);
}

static void cancel_ends_the_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *w;

    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), 0);
    w = worker_start(stage, wait_bound, s);
    assert_true(worker_sleeps(w, 1));
    plait_cancel_set(&s->token);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
}

/* ---- Below a condition ---- */

struct pair {
    struct scene *scene;
    plait_cond_t cond;
};

static void wait_notified(struct worker *self)
{
    struct pair *p = self->with;

    if (plait_lock_acquire(&p->scene->lock, PLAIT_FOREVER) != 0)
        return;
    worker_says(self, 1);
    p->scene->seen++;
    self->result = plait_cond_wait(&p->cond, &p->scene->lock, PLAIT_FOREVER);
    p->scene->seen--;
    if (plait_lock_release(&p->scene->lock) != 0)
        self->result = -1;
}

static void cond_goes_with_it(void **state)
{
    struct stage *stage = *state;
    struct pair *p = stage_alloc(stage, sizeof *p);
    struct worker *w[4];

    assert_non_null(p);
    p->scene = scene_of(stage);
    assert_int_equal(plait_cond_init(&p->cond, stage->flags | PLAIT_PRIO_INHERIT), EINVAL);
    assert_int_equal(plait_cond_init(&p->cond, stage->flags), 0);
    assert_int_equal(plait_cond_wait(&p->cond, &p->scene->lock, PLAIT_NOW), EPERM);
    for (int i = 0; i < 4; i++) {
        w[i] = worker_start(stage, wait_notified, p);
        assert_true(worker_sleeps(w[i], 1));
    }
    assert_int_equal(plait_lock_acquire(&p->scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(p->scene->seen, 4);
    assert_int_equal(plait_cond_notify_all(&p->cond), 0);
    assert_int_equal(plait_lock_release(&p->scene->lock), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_int_equal(p->scene->seen, 0);
    assert_int_equal(plait_cond_fini(&p->cond), 0);
}

/* ---- The inversion ---- */

/* The priority at which the kernel runs the thread now: lent ones included (field 18 of its stat; below 0: real-time). */
static int priority_of(uint32_t tid)
{
    char path[64], text[1024];
    const char *p;
    int priority = 0;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%u/stat", tid);
    f = fopen(path, "r");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    p = strrchr(text, ')');
    for (int field = 2; field < 18 && p; field++)
        p = strchr(p + 1, ' ');
    if (p)
        sscanf(p, "%d", &priority);
    return priority;
}

static void hold_until_told(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    plait_event_wait(&s->go, PLAIT_FOREVER);
    plait_lock_release(&s->lock);
    worker_says(self, 2);
    plait_event_clear(&s->go);
    plait_event_wait(&s->go, PLAIT_FOREVER);
}

static void want_it_in_real_time(struct worker *self)
{
    struct scene *s = self->with;
    struct sched_param param = { .sched_priority = 20 };

    if (sched_setscheduler((pid_t)syscall(SYS_gettid), SCHED_FIFO, &param) != 0) {
        self->result = EPERM;
        worker_says(self, 1);
        return;
    }
    worker_says(self, 1);
    self->result = plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    plait_lock_release(&s->lock);
}

static void holder_runs_at_the_waiters_priority(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *low = worker_start(stage, hold_until_told, s), *high;
    int normal;

    assert_true(worker_said(low, 1));
    normal = priority_of(low->tid);
    assert_true(normal >= 0);
    high = worker_start(stage, want_it_in_real_time, s);
    assert_true(worker_said(high, 1));
    if (high->result == EPERM) {
        plait_event_set(&s->go);
        assert_true(worker_said(low, 2));
        plait_event_set(&s->go);
        assert_int_equal(worker_result(low), 0);
        worker_join(high);
        skip(); /* this machine gives us no real-time priorities */
    }
    assert_true(EVENTUALLY(priority_of(low->tid) == -21));
    plait_event_set(&s->go);
    assert_true(worker_said(low, 2));
    assert_int_equal(worker_result(high), 0);
    assert_int_equal(priority_of(low->tid), normal);
    plait_event_set(&s->go);
    assert_int_equal(worker_result(low), 0);
}

/* In the child of a fork a private one is its parent's as well, not the copy of the thread's. */
static void lock_held_over_fork_stays_the_parents(void **state)
{
    struct scene *s = scene_of(*state);
    int status;
    pid_t pid;

    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_NOW), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(!(plait_lock_release(&s->lock) == EPERM && plait_lock_acquire(&s->lock, PLAIT_NOW) == ETIMEDOUT &&
                plait_lock_acquire(&s->lock, plait_after(0.05)) == ETIMEDOUT && plait_lock_is_locked(&s->lock)));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(lock_is_owned),
        EVERYWHERE(rlock_counts_levels),
        EVERYWHERE(lock_held_by_another_times_out),
        EVERYWHERE(lock_excludes),
        EVERYWHERE(death_of_the_holder_is_told_to_one),
        EVERYWHERE(death_without_repair_ends_the_lock),
        EVERYWHERE(cancel_ends_the_wait),
        EVERYWHERE(lock_held_over_fork_stays_the_parents),
        EVERYWHERE(cond_goes_with_it),
        EVERYWHERE(holder_runs_at_the_waiters_priority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
