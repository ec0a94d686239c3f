/* SPDX-License-Identifier: MIT */
/*
 * A program of its own, with its own makefile that knows nothing but pkg-config, and with threads
 * from pthread_create: libplait's objects serve them like any others.
 *
 * Four threads, of which two at a time may be at work, send squares to main through a queue; the
 * last to leave closes it.
 *
 *     make && ./app
 *
 * Expected, exactly:
 *
 *     400 squares, sum 21413400, never more than 2 at work
 */
#include <plait.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, SQUARES = 100 };

static plait_sem_t desks;
static plait_queue_t *squares;

static struct {
    plait_lock_t lock;
    int at_work, most; /* guarded by lock; at_work <= most */
    int left;          /* guarded by lock; threads that have not finished */
} office = { .left = THREADS };

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, plait_strerror(err));
        exit(1);
    }
}

static void sit_down(void)
{
    plait_sem_acquire(&desks, 1, PLAIT_FOREVER);
    plait_lock_acquire(&office.lock, PLAIT_FOREVER);
    if (++office.at_work > office.most)
        office.most = office.at_work;
    plait_lock_release(&office.lock);
}

static void stand_up(void)
{
    plait_lock_acquire(&office.lock, PLAIT_FOREVER);
    office.at_work--;
    if (--office.left == 0)
        plait_queue_close(squares);
    plait_lock_release(&office.lock);
    plait_sem_release(&desks, 1);
}

static void *work(void *arg)
{
    long first = (long)(intptr_t)arg * SQUARES;

    sit_down();
    for (long i = first + 1; i <= first + SQUARES; i++) {
        long square = i * i;

        must(plait_queue_put(squares, &square, PLAIT_FOREVER), "plait_queue_put");
    }
    stand_up();
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    long square, sum = 0;
    int count = 0;

    must(plait_sem_init(&desks, 2, PLAIT_BOUNDED), "plait_sem_init");
    must(plait_queue_new(&squares,
                         &(struct plait_queue_opts){ .item_size = sizeof square, .maxsize = 16 }),
         "plait_queue_new");
    for (int i = 0; i < THREADS; i++)
        must(pthread_create(&thread[i], NULL, work, (void *)(intptr_t)i), "pthread_create");
    while (plait_queue_get(squares, &square, PLAIT_FOREVER) == 0) {
        sum += square;
        count++;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("%d squares, sum %ld, %s\n", count, sum,
           office.most <= 2 ? "never more than 2 at work" : "too many at work");
    plait_queue_free(squares);
    return plait_sem_fini(&desks);
}
