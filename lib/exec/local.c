/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Each local in use has a number, by which its value is found in a row that each thread has, and a serial number, unlike that of any other
 * local that ever was: a number is used again after fini, and a row may have a value there of who had it before.
 *
 * The number is given by the first set. E1: `serial` is stored, then the number is released; who acquires the number reads the serial,
 * and finds all prepared: the key, and the handlers of fork, without which nobody takes the lock.
 *
 * A row is its thread's alone. It is freed by the destructor of a pthread key, which destroys the values first: of those locals that
 * are in use still, which the table of serials tells. The table is guarded by a lock, which fork takes, so that the child finds both whole;
 * no foreign code runs with it.
 */
#include <plait/local.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/races.h"
#include "base/tls.h"

enum { ROOM_MIN = 8, ROUNDS = 4 };

struct value {
    uint64_t serial; /* of whose it is */
    void *pointer;
    void (*destroy)(void *value);
};

struct row {
    uint32_t room;
    struct value values[];
};

static PLAIT_TLS struct row *row; /* NULL: the thread has set nothing */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;         /* const after prepare */
static int prepared;              /* const after prepare: 0, or why there is no key */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t *serials;         /* guarded by lock, as all that follows: by number - 1; 0: the number is free */
static uint32_t room, used, freed; /* of serials; numbers above `used` were never given; how many are free again */
static uint64_t last_serial;

/* ---- Numbers ---- */

static void lock_table(void) { pthread_mutex_lock(&lock); }
static void unlock_table(void) { pthread_mutex_unlock(&lock); }

static bool is_in_use(uint32_t at, uint64_t serial)
{
    bool in_use;

    lock_table();
    in_use = at < used && serials[at] == serial;
    unlock_table();
    return in_use;
}

/* A free number; UINT32_MAX: no memory. With the lock held. */
static uint32_t find_free(void)
{
    uint32_t size = room ? 2 * room : ROOM_MIN;
    uint64_t *larger;

    for (uint32_t at = 0; freed && at < used; at++)
        if (!serials[at]) {
            freed--;
            return at;
        }
    if (used == room) {
        larger = realloc(serials, size * sizeof *serials);
        if (!larger)
            return UINT32_MAX;
        serials = larger;
        room = size;
    }
    return used++;
}

static void end_thread(void *unused);

static void prepare(void)
{
    prepared = pthread_key_create(&key, end_thread);
    pthread_atfork(lock_table, unlock_table, unlock_table);
}

/* See that it has a number. */
static int give_number(plait_local_t *local)
{
    uint32_t at = 0;

    plait__races_once(&once, prepare);
    lock_table();
    if (!load_relaxed(&local->number)) {
        at = find_free();
        if (at != UINT32_MAX) {
            serials[at] = local->serial = ++last_serial;
            store_release(&local->number, at + 1); /* E1 */
        }
    }
    unlock_table();
    return at == UINT32_MAX ? ENOMEM : 0;
}

/* ---- Rows ---- */

/* Of each value once, as they were when this began: destroying may set others, in a larger row. True: there was one. */
static bool destroy_values(void)
{
    bool any = false;

    for (uint32_t at = 0; row && at < row->room; at++) {
        struct value value = row->values[at];

        row->values[at].pointer = NULL;
        if (!value.pointer || !value.destroy || !is_in_use(at, value.serial))
            continue;
        value.destroy(value.pointer);
        any = true;
    }
    return any;
}

static void end_thread(void *unused)
{
    int rounds = 0;

    (void)unused;
    while (rounds < ROUNDS && destroy_values())
        rounds++;
    free(row);
    row = NULL;
}

static int enlarge_row(uint32_t number)
{
    uint32_t before = row ? row->room : 0, size = before ? before : ROOM_MIN;
    struct row *larger;

    while (size < number)
        size *= 2;
    if (prepared != 0 || pthread_setspecific(key, &key) != 0) /* what it is does not matter, only that it is not NULL */
        return ENOMEM;
    larger = realloc(row, sizeof *row + size * sizeof(struct value));
    if (!larger)
        return ENOMEM;
    memset(&larger->values[before], 0, (size - before) * sizeof(struct value));
    larger->room = size;
    row = larger;
    return 0;
}

/* ---- The public calls ---- */

int plait_local_init(plait_local_t *local, void (*destroy)(void *value))
{
    *local = (plait_local_t)PLAIT_LOCAL_INIT(destroy);
    return 0;
}

int plait_local_fini(plait_local_t *local)
{
    uint32_t number = load_acquire(&local->number);

    if (number) {
        lock_table();
        serials[number - 1] = 0;
        freed++;
        unlock_table();
    }
    *local = (plait_local_t){ 0 };
    return 0;
}

void *plait_local_get(const plait_local_t *local)
{
    uint32_t number = load_acquire(&local->number); /* E1 */

    if (!number || !row || number > row->room || row->values[number - 1].serial != local->serial)
        return NULL;
    return row->values[number - 1].pointer;
}

int plait_local_set(plait_local_t *local, void *value)
{
    uint32_t number = load_acquire(&local->number); /* E1 */
    int err = number ? 0 : give_number(local);

    number = load_acquire(&local->number);
    if (err == 0 && (!row || number > row->room))
        err = enlarge_row(number);
    if (err == 0)
        row->values[number - 1] = (struct value){ local->serial, value, local->destroy };
    return err;
}
