/* SPDX-License-Identifier: MIT */
/*
 * A program that looks at plain data across threads, by each noun, in the right way or in a wrong one; for tools that look for data races.
 *
 *     nouns NOUN|all WAY [shared]
 *
 * One thread writes `data`, others read it. Ways: `guarded`: by the noun; `unguarded`: the readers do not wait; `wrong`: they
 * wait for another object of the same kind; `reading` (rwlock): it is written under a hold for reading; `reused`: as
 * guarded, but after the object's end the bytes where it was are data, which nobody guards. Shared: the objects lie in an arena. The
 * program itself always succeeds.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

enum { READERS = 2, ROUNDS = 3, TIMES = 20, RIGHT = 0, OTHER = 1, KINDS = 2 };

enum way { GUARDED, UNGUARDED, WRONG, READING, REUSED };

/* Of each object the right one, and another. */
struct objects {
    plait_lock_t lock[KINDS];
    plait_rlock_t rlock[KINDS];
    plait_sem_t sem[KINDS];
    plait_rwlock_t rwlock[KINDS];
    plait_event_t event[KINDS];
    plait_cond_t cond[KINDS];
    plait_barrier_t barrier[KINDS];
    plait_once_t once[KINDS];
    plait_latch_t latch[KINDS];
    plait_wait_group_t group[KINDS];
    bool ready[KINDS]; /* guarded by lock of the same index */
};

static enum way way;
static struct objects private_objects, *objects = &private_objects;
static plait_queue_t *queue[KINDS];
static plait_dict_t *dict[KINDS];
static plait_list_t *list[KINDS];
static plait_latest_t *latest[KINDS];
static plait_value_t *one_value[KINDS];
static plait_array_t *array[KINDS];
static plait_broadcast_t *broadcast[KINDS];
static plait_pipe_t *left_end[KINDS], *right_end[KINDS];
static plait_arena_t *arena;

static int data; /* guarded by what is asked for */

/* Set when all have done their part: of threads that have ended helgrind and DRD miss races, with plain pthreads too. */
static plait_event_t over;

/* What must work; it says which does not. */
#define WORKS(call) works((call), #call)

static void works(int err, const char *call)
{
    if (err == 0)
        return;
    fprintf(stderr, "%s: %s\n", call, plait_strerror(err));
    exit(1);
}

static __attribute__((noinline)) void write_data(void)
{
    data++;
}

static __attribute__((noinline)) void read_data(void)
{
    __asm__ volatile("" : : "r"(*(volatile int *)&data));
}

/* ---- Nouns that are held ------------------------------------------------------------------ */

static void lock_enter(int which, bool writes)
{
    WORKS(plait_lock_acquire(&objects->lock[which], PLAIT_FOREVER));
}

static void lock_leave(int which)
{
    WORKS(plait_lock_release(&objects->lock[which]));
}

static void rlock_enter(int which, bool writes)
{
    WORKS(plait_rlock_acquire(&objects->rlock[which], PLAIT_FOREVER));
}

static void rlock_leave(int which)
{
    WORKS(plait_rlock_release(&objects->rlock[which]));
}

static void sem_enter(int which, bool writes)
{
    WORKS(plait_sem_acquire(&objects->sem[which], 1, PLAIT_FOREVER));
}

static void sem_leave(int which)
{
    WORKS(plait_sem_release(&objects->sem[which], 1));
}

static void rwlock_enter(int which, bool writes)
{
    if (writes)
        WORKS(plait_rwlock_acquire_write(&objects->rwlock[which], PLAIT_FOREVER));
    else
        WORKS(plait_rwlock_acquire_read(&objects->rwlock[which], PLAIT_FOREVER));
}

static void rwlock_leave(int which)
{
    WORKS(plait_rwlock_release(&objects->rwlock[which]));
}

/* ---- Nouns that hand on: what was done before give is seen after take --------------------------- */

static void event_give(int which)
{
    WORKS(plait_event_set(&objects->event[which]));
}

static void event_take(int which)
{
    WORKS(plait_event_wait(&objects->event[which], PLAIT_FOREVER));
}

static void is_set_take(int which)
{
    while (!plait_event_is_set(&objects->event[which]))
        WORKS(plait_sleep(0.001));
}

static void cond_give(int which)
{
    lock_enter(which, true);
    objects->ready[which] = true;
    WORKS(plait_cond_notify_all(&objects->cond[which]));
    lock_leave(which);
}

static void cond_take(int which)
{
    lock_enter(which, true);
    while (!objects->ready[which])
        WORKS(plait_cond_wait(&objects->cond[which], &objects->lock[which], PLAIT_FOREVER));
    lock_leave(which);
}

static void barrier_meet(int which)
{
    WORKS(plait_barrier_wait(&objects->barrier[which], NULL, PLAIT_FOREVER));
}

static void latch_give(int which)
{
    WORKS(plait_latch_count_down(&objects->latch[which], 1));
}

static void latch_take(int which)
{
    WORKS(plait_latch_wait(&objects->latch[which], PLAIT_FOREVER));
}

static void group_give(int which)
{
    WORKS(plait_wait_group_done(&objects->group[which]));
}

static void group_take(int which)
{
    WORKS(plait_wait_group_wait(&objects->group[which], PLAIT_FOREVER));
}

static void queue_give(int which)
{
    for (int i = 0; i < READERS; i++)
        WORKS(plait_queue_put(queue[which], &i, PLAIT_FOREVER));
}

static void queue_take(int which)
{
    int item;

    WORKS(plait_queue_get(queue[which], &item, PLAIT_FOREVER));
}

static void dict_give(int which)
{
    WORKS(plait_dict_set(dict[which], PLAIT_TEXT("ready"), NULL, 0));
}

static void dict_take(int which)
{
    while (!plait_dict_contains(dict[which], PLAIT_TEXT("ready")))
        WORKS(plait_sleep(0.001));
}

static void list_give(int which)
{
    WORKS(plait_list_append(list[which], NULL, 0));
}

static void list_take(int which)
{
    while (!plait_list_len(list[which]))
        WORKS(plait_sleep(0.001));
}

static void pipe_give(int which)
{
    for (int i = 0; i < READERS; i++)
        WORKS(plait_pipe_send(left_end[which], "x", 1, PLAIT_FOREVER));
}

static void pipe_take(int which)
{
    char byte;
    size_t size;

    WORKS(plait_pipe_recv(right_end[which], &byte, 1, &size, PLAIT_FOREVER));
}

static void broadcast_give(int which)
{
    int item = 1;

    WORKS(plait_broadcast_put(broadcast[which], &item, PLAIT_FOREVER));
}

static void broadcast_take(int which)
{
    plait_subscriber_t *s;
    int item;

    WORKS(plait_broadcast_subscribe(broadcast[which], PLAIT_FROM_OLDEST, &s));
    WORKS(plait_subscriber_get(s, &item, PLAIT_FOREVER));
    WORKS(plait_subscriber_free(s));
}

static void latest_give(int which)
{
    int value = 1;

    WORKS(plait_latest_write(latest[which], &value, PLAIT_FOREVER));
}

static void latest_take(int which)
{
    uint64_t version = 0;
    int value;

    WORKS(plait_latest_read_newer(latest[which], &value, &version, PLAIT_FOREVER));
}

static void value_give(int which)
{
    WORKS(plait_value_set_int(one_value[which], 1));
}

static void value_take(int which)
{
    while (!plait_value_get_int(one_value[which]))
        WORKS(plait_sleep(0.001));
}

static void array_enter(int which, bool writes)
{
    WORKS(plait_array_lock(array[which], PLAIT_FOREVER));
}

static void array_leave(int which)
{
    WORKS(plait_array_unlock(array[which]));
}

static int once_write(void *arg)
{
    write_data();
    return 0;
}

static int once_nothing(void *arg)
{
    return 0;
}

/* ---- The two sides ------------------------------------------------------------------------ */

struct noun {
    const char *name;
    size_t offset; /* of the right object in struct objects */
    void (*enter)(int which, bool writes), (*leave)(int which); /* held, */
    void (*give)(int which), (*take)(int which);                /* or handed on, or neither */
};

static const struct noun nouns[] = {
    { "lock", offsetof(struct objects, lock), lock_enter, lock_leave, NULL, NULL },
    { "rlock", offsetof(struct objects, rlock), rlock_enter, rlock_leave, NULL, NULL },
    { "sem", offsetof(struct objects, sem), sem_enter, sem_leave, NULL, NULL },
    { "rwlock", offsetof(struct objects, rwlock), rwlock_enter, rwlock_leave, NULL, NULL },
    { "event", offsetof(struct objects, event), NULL, NULL, event_give, event_take },
    { "is_set", offsetof(struct objects, event), NULL, NULL, event_give, is_set_take },
    { "cond", offsetof(struct objects, cond), NULL, NULL, cond_give, cond_take },
    { "barrier", offsetof(struct objects, barrier), NULL, NULL, barrier_meet, barrier_meet },
    { "latch", offsetof(struct objects, latch), NULL, NULL, latch_give, latch_take },
    { "wait_group", offsetof(struct objects, group), NULL, NULL, group_give, group_take },
    { "queue", 0, NULL, NULL, queue_give, queue_take },
    { "pipe", 0, NULL, NULL, pipe_give, pipe_take },
    { "broadcast", 0, NULL, NULL, broadcast_give, broadcast_take },
    { "dict", 0, NULL, NULL, dict_give, dict_take },
    { "list", 0, NULL, NULL, list_give, list_take },
    { "latest", 0, NULL, NULL, latest_give, latest_take },
    { "value", 0, NULL, NULL, value_give, value_take },
    { "array", 0, array_enter, array_leave, NULL, NULL },
    { "once", offsetof(struct objects, once), NULL, NULL, NULL, NULL },
    { "thread", 0, NULL, NULL, NULL, NULL },
    { "timer", 0, NULL, NULL, NULL, NULL },
    { "crew", 0, NULL, NULL, NULL, NULL },
};

static const struct noun *noun;

static bool is(const char *name)
{
    return strcmp(noun->name, name) == 0;
}

static void write_held(void)
{
    for (int i = 0; i < TIMES; i++) {
        noun->enter(RIGHT, way != READING);
        write_data();
        noun->leave(RIGHT);
    }
}

static void read_held(void)
{
    int which = way == WRONG ? OTHER : RIGHT;

    for (int i = 0; i < TIMES; i++) {
        if (way != UNGUARDED)
            noun->enter(which, false);
        read_data();
        if (way != UNGUARDED)
            noun->leave(which);
    }
}

static void write_handed_on(void)
{
    if (way == WRONG)
        noun->give(OTHER);
    write_data();
    noun->give(RIGHT);
}

static void read_handed_on(void)
{
    if (way != UNGUARDED)
        noun->take(way == WRONG ? OTHER : RIGHT);
    read_data();
    if (way == UNGUARDED || way == WRONG)
        noun->take(RIGHT);
}

static void read_once(void)
{
    if (way == GUARDED || way == REUSED)
        WORKS(plait_once_run(&objects->once[RIGHT], once_write, NULL, PLAIT_FOREVER));
    if (way == WRONG)
        WORKS(plait_once_run(&objects->once[OTHER], once_nothing, NULL, PLAIT_FOREVER));
    read_data();
}

static void *reader(void *arg)
{
    if (noun->enter)
        read_held();
    else if (noun->give)
        read_handed_on();
    else if (is("once"))
        read_once();
    WORKS(plait_event_wait(&over, PLAIT_FOREVER));
    return NULL;
}

static void writer(void)
{
    if (noun->enter)
        write_held();
    else if (noun->give)
        write_handed_on();
    else if (is("once"))
        WORKS(plait_once_run(&objects->once[RIGHT], once_write, NULL, PLAIT_FOREVER));
}

/* ---- A round ------------------------------------------------------------------------------- */

static void init(int which, unsigned flags)
{
    struct objects *o = objects;

    WORKS(plait_lock_init(&o->lock[which], flags));
    WORKS(plait_rlock_init(&o->rlock[which], flags));
    WORKS(plait_sem_init(&o->sem[which], 1, flags));
    WORKS(plait_rwlock_init(&o->rwlock[which], flags));
    WORKS(plait_event_init(&o->event[which], flags));
    WORKS(plait_cond_init(&o->cond[which], flags));
    WORKS(plait_barrier_init(&o->barrier[which], READERS + 1, flags));
    WORKS(plait_once_init(&o->once[which], flags));
    WORKS(plait_latch_init(&o->latch[which], 1, flags));
    WORKS(plait_wait_group_init(&o->group[which], flags));
    WORKS(plait_wait_group_add(&o->group[which], 1));
    WORKS(plait_queue_new(&queue[which], &(struct plait_queue_opts){ .item_size = sizeof(int), .arena = arena }));
    WORKS(plait_pipe_new(&left_end[which], &right_end[which], &(struct plait_pipe_opts){ .arena = arena }));
    WORKS(plait_broadcast_new(&broadcast[which], &(struct plait_broadcast_opts){ .item_size = sizeof(int), .arena = arena }));
    WORKS(plait_dict_new(&dict[which], &(struct plait_dict_opts){ .arena = arena }));
    WORKS(plait_list_new(&list[which], &(struct plait_list_opts){ .arena = arena }));
    WORKS(plait_latest_new(&latest[which], &(struct plait_latest_opts){ .value_size = sizeof(int), .arena = arena }));
    WORKS(plait_value_new(&one_value[which], &(struct plait_value_opts){ .arena = arena }));
    WORKS(plait_array_new(&array[which], &(struct plait_array_opts){ .count = 2, .arena = arena }));
    o->ready[which] = false;
}

static void fini(int which)
{
    struct objects *o = objects;

    WORKS(plait_lock_fini(&o->lock[which]));
    WORKS(plait_rlock_fini(&o->rlock[which]));
    WORKS(plait_sem_fini(&o->sem[which]));
    WORKS(plait_rwlock_fini(&o->rwlock[which]));
    WORKS(plait_event_fini(&o->event[which]));
    WORKS(plait_cond_fini(&o->cond[which]));
    WORKS(plait_barrier_fini(&o->barrier[which]));
    WORKS(plait_once_fini(&o->once[which]));
    WORKS(plait_latch_fini(&o->latch[which]));
    if (plait_wait_group_count(&o->group[which]))
        WORKS(plait_wait_group_done(&o->group[which]));
    WORKS(plait_wait_group_fini(&o->group[which]));
    WORKS(arena ? plait_queue_destroy(queue[which]) : plait_queue_free(queue[which]));
    WORKS(plait_pipe_free(left_end[which]));
    WORKS(plait_pipe_free(right_end[which]));
    WORKS(plait_broadcast_destroy(broadcast[which]));
    WORKS(plait_dict_destroy(dict[which]));
    WORKS(plait_list_destroy(list[which]));
    WORKS(arena ? plait_latest_destroy(latest[which]) : plait_latest_free(latest[which]));
    WORKS(plait_value_destroy(one_value[which]));
    WORKS(plait_array_destroy(array[which]));
}

static plait_thread_t *start(void *(*target)(void *arg), void *arg)
{
    plait_thread_t *thread;

    WORKS(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = target, .arg = arg }));
    WORKS(plait_thread_start(thread));
    return thread;
}

static void end(plait_thread_t *thread)
{
    WORKS(plait_thread_join(thread, NULL, PLAIT_FOREVER));
    WORKS(plait_thread_free(thread));
}

static void round_of_readers(void)
{
    plait_thread_t *readers[READERS];

    for (int i = 0; i < READERS; i++)
        readers[i] = start(reader, NULL);
    writer();
    WORKS(plait_event_set(&over));
    for (int i = 0; i < READERS; i++)
        end(readers[i]);
}

static void *thread_writes(void *arg)
{
    write_data();
    WORKS(plait_event_wait(&over, PLAIT_FOREVER));
    return NULL;
}

static void *thread_without_data(void *arg)
{
    return NULL;
}

static void round_of_threads(void)
{
    plait_thread_t *right = start(thread_writes, NULL);
    plait_thread_t *other = start(thread_without_data, NULL);

    if (way == GUARDED) {
        WORKS(plait_event_set(&over));
        WORKS(plait_thread_join(right, NULL, PLAIT_FOREVER));
    }
    if (way == WRONG)
        WORKS(plait_thread_join(other, NULL, PLAIT_FOREVER));
    read_data();
    WORKS(plait_event_set(&over));
    end(right);
    end(other);
}

static void timer_writes(plait_timer_t *timer, void *arg)
{
    thread_writes(NULL);
}

static void timer_without_data(plait_timer_t *timer, void *arg) {}

static void start_timer(plait_timer_t *timer, void (*target)(plait_timer_t *timer, void *arg))
{
    WORKS(plait_timer_init(timer, &(struct plait_timer_opts){ .target = target }));
    WORKS(plait_timer_start(timer, PLAIT_NOW));
}

static void end_timer(plait_timer_t *timer)
{
    WORKS(plait_timer_join(timer, PLAIT_FOREVER));
    WORKS(plait_timer_fini(timer));
}

/*
 * The other one comes first, for both are called by one thread. That takes up a timer under a lock which every call takes: the wrong ways
 * look when the function has begun, or a later call could come before it.
 */
static void round_of_timers(void)
{
    plait_timer_t right, other;

    start_timer(&other, timer_without_data);
    start_timer(&right, timer_writes);
    if (way == GUARDED) {
        WORKS(plait_event_set(&over));
        WORKS(plait_timer_join(&right, PLAIT_FOREVER));
    }
    if (way == WRONG)
        WORKS(plait_timer_join(&other, PLAIT_FOREVER));
    while (way != GUARDED && plait_timer_is_pending(&right))
        plait_sleep(0.001);
    read_data();
    WORKS(plait_event_set(&over));
    end_timer(&right);
    end_timer(&other);
}

static void crew_writes(plait_worker_t *worker, void *arg)
{
    thread_writes(NULL);
}

static void crew_without_data(plait_worker_t *worker, void *arg) {}

/* The one that writes is taken by the other worker; that it has begun is known without an order. */
static void crew_root(plait_worker_t *worker, void *crew)
{
    struct plait_crew_stats stats = { 0 };

    plait_worker_spawn(worker, crew_writes, NULL);
    while (stats.stolen == 0) {
        plait_sleep(0.001);
        WORKS(plait_crew_stats(crew, &stats));
    }
    plait_worker_spawn(worker, crew_without_data, NULL);
    if (way != UNGUARDED)
        WORKS(plait_worker_sync(worker));
    if (way == GUARDED) {
        WORKS(plait_event_set(&over));
        WORKS(plait_worker_sync(worker));
    }
    read_data();
    WORKS(plait_event_set(&over));
    for (int left = way == GUARDED ? 0 : way == WRONG ? 1 : 2; left > 0; left--)
        WORKS(plait_worker_sync(worker));
}

static void round_of_crews(void)
{
    plait_crew_t *crew;

    WORKS(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = 2 }));
    WORKS(plait_crew_run(crew, crew_root, crew));
    WORKS(plait_crew_free(crew));
}

static __attribute__((noinline)) void *reuse(void *arg)
{
    volatile unsigned *data_now = (unsigned *)((char *)objects + noun->offset);

    (*data_now)++;
    if (arg)
        WORKS(plait_event_wait(arg, PLAIT_FOREVER));
    return NULL;
}

static void round_of_reuse(void)
{
    plait_thread_t *thread = start(reuse, &over);

    reuse(NULL);
    WORKS(plait_event_set(&over));
    end(thread);
}

static bool choose_way(const char *name)
{
    static const char *const ways[] = { "guarded", "unguarded", "wrong", "reading", "reused" };

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(name, ways[i]) == 0) {
            way = (enum way)i;
            return true;
        }
    return false;
}

static void go_round(unsigned flags)
{
    WORKS(plait_event_clear(&over));
    for (int which = 0; which < KINDS; which++)
        init(which, flags);
    if (is("thread"))
        round_of_threads();
    else if (is("timer"))
        round_of_timers();
    else if (is("crew"))
        round_of_crews();
    else
        round_of_readers();
    for (int which = 0; which < KINDS; which++)
        fini(which);
}

static void go(unsigned flags)
{
    for (int i = 0; i < ROUNDS; i++)
        go_round(flags);
    if (way == REUSED) {
        WORKS(plait_event_clear(&over));
        round_of_reuse();
    }
}

int main(int argc, char **argv)
{
    bool shared = argc > 3 && strcmp(argv[3], "shared") == 0, found = false;

    if (argc < 3 || !choose_way(argv[2]))
        return 2;
    if (shared) {
        WORKS(plait_arena_new(&arena, NULL));
        WORKS(plait_arena_alloc(arena, sizeof *objects, (void **)&objects));
    }
    for (noun = nouns; noun < nouns + sizeof nouns / sizeof *nouns; noun++)
        if (is(argv[1]) || strcmp(argv[1], "all") == 0) {
            found = true;
            go(shared ? PLAIT_SHARED : 0);
        }
    return found ? 0 : 2;
}
