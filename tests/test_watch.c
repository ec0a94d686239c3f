/* SPDX-License-Identifier: MIT */
/* The contract of watches: descriptors that tell when an operation may be performed. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/side.h"
#include "queue/steps.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { SECONDS = 30, MANY = 2000 };

static bool can_be_read(const plait_watch_t *watch, int milliseconds)
{
    struct pollfd fd = { .fd = plait_watch_fileno(watch), .events = POLLIN };
    int n;

    do
        n = poll(&fd, 1, milliseconds);
    while (n < 0 && errno == EINTR);
    return n == 1 && (fd.revents & POLLIN);
}

static bool tells(const plait_watch_t *watch) { return can_be_read(watch, SECONDS * 1000); }

/* Long enough that a watch which is going to tell has told; those of shared objects look again in that time, too. */
static bool is_quiet(const plait_watch_t *watch) { return !can_be_read(watch, 150); }

static plait_watch_t *watch_for(struct plait_wait_entry entry)
{
    plait_watch_t *watch;

    assert_int_equal(plait_watch_new(&watch, entry), 0);
    assert_true(plait_watch_is_told(watch));
    assert_true(can_be_read(watch, 0));
    return watch;
}

/* The watch's only thread ends after it. */
static void await_no_thread(int others)
{
    for (int i = 0; i < 10000 && count_threads() != others; i++)
        plait_sleep(0.001);
    assert_int_equal(count_threads(), others);
}

/* ---- Each noun ---- */

static plait_arena_t *arena; /* of the present objects, NULL: private */

static void *take_place(size_t size)
{
    void *memory;

    if (!arena)
        memory = malloc(size);
    else
        assert_int_equal(plait_arena_alloc(arena, size, &memory), 0);
    return memory;
}

static void give_back_place(void *memory)
{
    if (arena)
        plait_arena_dealloc(arena, memory);
    else
        free(memory);
}

/* In a child where objects are shared. */
static int do_it(void *arg)
{
    void (*const *change)(void) = arg;

    (*change)();
    return 0;
}

/* What `change` (NULL: by itself) makes possible is told, to who armed before and who arms after it; `undo` makes it impossible again. */
static void tells_what_becomes_possible(struct plait_wait_entry entry, void (*change)(void), void (*undo)(void))
{
    plait_watch_t *watch = watch_for(entry);

    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_watch_arm(watch), 0);
        assert_false(plait_watch_is_told(watch));
        assert_true(is_quiet(watch));
        if (arena && i == 0)
            assert_int_equal(child_run(do_it, &change), 0);
        else if (change)
            change();
        assert_true(tells(watch));
        assert_true(plait_watch_is_told(watch));
        assert_int_equal(plait_watch_arm(watch), 0); /* it still is */
        assert_true(can_be_read(watch, 0));
        if (!undo)
            break;
        undo();
    }
    assert_int_equal(plait_watch_free(watch), 0);
}

static plait_queue_t *queue;
static plait_pipe_t *left, *right;
static plait_event_t *event;
static plait_sem_t *sem;
static plait_latch_t *latch;
static plait_wait_group_t *group;
static plait_cancel_t token;

static void put_one(void)
{
    uint64_t item = 1;

    plait_queue_put(queue, &item, PLAIT_NOW);
}

static void get_one(void)
{
    uint64_t item;

    plait_queue_get(queue, &item, PLAIT_NOW);
}

static void put_message(void) { plait_queue_put_bytes(queue, "x", 1, PLAIT_NOW); }

static void get_message(void)
{
    size_t size;
    char byte;

    plait_queue_get_bytes(queue, &byte, 1, &size, PLAIT_NOW);
}

static void send_one(void) { plait_pipe_send(left, "x", 1, PLAIT_NOW); }

static void recv_one(void)
{
    size_t size;
    char byte;

    plait_pipe_recv(right, &byte, 1, &size, PLAIT_NOW);
}

static void set_event(void) { plait_event_set(event); }
static void clear_event(void) { plait_event_clear(event); }
static void release_two(void) { plait_sem_release(sem, 2); }
static void acquire_two(void) { plait_sem_acquire(sem, 2, PLAIT_NOW); }
static void count_down(void) { plait_latch_count_down(latch, 1); }
static void group_done(void) { plait_wait_group_done(group); }
static void group_add(void) { plait_wait_group_add(group, 1); }
static void set_token(void) { plait_cancel_set(&token); }

static void watch_queues(void)
{
    uint64_t item;

    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .maxsize = 1, .arena = arena }), 0);
    tells_what_becomes_possible(plait_any_queue_get(queue, &item), put_one, get_one);
    put_one();
    tells_what_becomes_possible(plait_any_queue_put(queue, &item), get_one, put_one);
    plait_queue_destroy(queue);
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .maxsize = 1, .arena = arena }), 0);
    tells_what_becomes_possible(plait_any_queue_borrow(queue, NULL), put_message, get_message);
    put_message();
    tells_what_becomes_possible(plait_any_queue_commit(queue, NULL), get_message, put_message);
    plait_queue_destroy(queue);
}

static void watch_pipes(void)
{
    struct plait_pipe_opts opts = { .arena = arena, .maxsize = 1 };
    size_t size = 1;
    char byte;

    assert_int_equal(plait_pipe_new(&left, &right, &opts), 0);
    tells_what_becomes_possible(plait_any_pipe_recv(right, &byte, &size), send_one, recv_one);
    tells_what_becomes_possible(plait_any_pipe_poll(right), send_one, recv_one);
    tells_what_becomes_possible(plait_any_pipe_borrow(right, NULL), send_one, recv_one);
    send_one();
    tells_what_becomes_possible(plait_any_pipe_send(left, "y", 1), recv_one, send_one);
    plait_pipe_free(left);
    plait_pipe_free(right);
}

static void watch_small_objects(void)
{
    unsigned flags = arena ? PLAIT_SHARED : 0;

    event = take_place(sizeof *event);
    assert_int_equal(plait_event_init(event, flags), 0);
    tells_what_becomes_possible(plait_any_event_wait(event), set_event, clear_event);
    plait_event_fini(event);
    give_back_place(event);

    sem = take_place(sizeof *sem);
    assert_int_equal(plait_sem_init(sem, 1, flags), 0);
    tells_what_becomes_possible(plait_any_sem_acquire(sem, 2), release_two, acquire_two);
    plait_sem_fini(sem);
    give_back_place(sem);

    latch = take_place(sizeof *latch);
    assert_int_equal(plait_latch_init(latch, 1, flags), 0);
    tells_what_becomes_possible(plait_any_latch_wait(latch), count_down, NULL);
    plait_latch_fini(latch);
    give_back_place(latch);

    group = take_place(sizeof *group);
    assert_int_equal(plait_wait_group_init(group, flags), 0);
    plait_wait_group_add(group, 1);
    tells_what_becomes_possible(plait_any_wait_group_wait(group), group_done, group_add);
    if (plait_wait_group_count(group))
        plait_wait_group_done(group);
    plait_wait_group_fini(group);
    give_back_place(group);
}

static void objects_are_watched(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        if (shared)
            assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
        watch_queues();
        watch_pipes();
        watch_small_objects();
    }
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
    assert_int_equal(plait_cancel_init(&token, 0), 0);
    tells_what_becomes_possible(plait_any_cancel_wait(&token), set_token, NULL);
    plait_cancel_fini(&token);
}

static void *wait_for_event(void *unused)
{
    plait_event_wait(event, PLAIT_FOREVER);
    return unused;
}

static int answer(plait_task_t *task, const void *arg, size_t arg_size)
{
    (void)task;
    (void)arg;
    (void)arg_size;
    return plait_event_wait(event, plait_after(SECONDS));
}

static void ends_of_threads_processes_and_tasks_are_watched(void **state)
{
    plait_thread_t *thread;
    plait_process_t *process;
    plait_future_t *future;
    plait_pool_t *pool;
    char sleep[] = "sleep", second[] = "1", *const argv[] = { sleep, second, NULL };
    void *result;

    event = calloc(1, sizeof *event);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = wait_for_event }), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    tells_what_becomes_possible(plait_any_thread_join(thread, &result), set_event, NULL);
    assert_int_equal(plait_thread_join(thread, NULL, plait_after(SECONDS)), 0);
    plait_thread_free(thread);

    plait_event_clear(event);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    assert_int_equal(plait_pool_apply_async(pool, answer, NULL, 0, &future), 0);
    tells_what_becomes_possible(plait_any_future_wait(future), set_event, NULL);
    plait_future_free(future);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_free(pool);
    free(event);

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .program = "sleep", .argv = argv }), 0);
    assert_int_equal(plait_process_start(process), 0);
    tells_what_becomes_possible(plait_any_process_join(process), NULL, NULL);
    assert_int_equal(plait_process_join(process, PLAIT_NOW), 0);
    plait_process_free(process);
}

/* ---- When it tells ---- */

static void told_watch_is_left_alone_until_it_is_armed(void **state)
{
    plait_watch_t *watch;
    eventfd_t written;

    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    watch = watch_for(plait_any_queue_get(queue, NULL));
    for (int i = 0; i < MANY; i++)
        put_one();
    assert_true(is_quiet(watch) == false);
    assert_int_equal(eventfd_read(plait_watch_fileno(watch), &written), 0); /* a user must not */
    assert_int_equal(written, 1);
    assert_int_equal(eventfd_write(plait_watch_fileno(watch), 1), 0);
    assert_int_equal(plait_watch_arm(watch), 0); /* there are items: nothing changes */
    assert_true(can_be_read(watch, 0));
    for (int i = 0; i < MANY; i++)
        get_one();
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_true(is_quiet(watch));
    put_one();
    put_one();
    assert_true(tells(watch));
    plait_sleep(0.05);
    assert_int_equal(eventfd_read(plait_watch_fileno(watch), &written), 0);
    assert_int_equal(written, 1);
    assert_int_equal(plait_watch_free(watch), 0);
    plait_queue_free(queue);
}

static void subscriber_of_a_broadcast_is_watched(void **state)
{
    plait_broadcast_t *broadcast;
    plait_subscriber_t *subscriber;
    plait_watch_t *watch;
    uint64_t item = 1;

    assert_int_equal(plait_broadcast_new(&broadcast, &(struct plait_broadcast_opts){ .item_size = 8, .maxsize = 4 }), 0);
    assert_int_equal(plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &subscriber), 0);
    watch = watch_for(plait_any_subscriber_get(subscriber, NULL));
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_true(is_quiet(watch));
    assert_int_equal(plait_broadcast_put(broadcast, &item, PLAIT_NOW), 0);
    assert_true(tells(watch));
    assert_int_equal(plait_watch_free(watch), 0);
    plait_subscriber_free(subscriber);
    plait_broadcast_free(broadcast);
}

static void closed_queue_is_told(void **state)
{
    plait_watch_t *watch;

    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    watch = watch_for(plait_any_queue_get(queue, NULL));
    assert_int_equal(plait_watch_arm(watch), 0);
    plait_queue_close(queue);
    assert_true(tells(watch));
    assert_int_equal(plait_watch_free(watch), 0);
    plait_queue_free(queue);
}

static int put_without_a_wake(void *unused)
{
    uint64_t item[2] = { 5 };

    (void)unused;
    if (plait__side_lock(queue, &queue->body->put, PLAIT_FOREVER) || plait__put_step(queue, item, 0))
        return 1;
    plait__side_unlock(queue, &queue->body->put);
    raise(SIGKILL);
    return 2;
}

static int get_and_die(void *unused)
{
    (void)unused;
    get_one();
    raise(SIGKILL);
    return 1;
}

static int acquire_and_stop(void *unused)
{
    (void)unused;
    acquire_two();
    raise(SIGSTOP);
    return 0;
}

static void deaths_are_noticed(void **state)
{
    plait_watch_t *watch;
    pid_t child;
    int status;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);

    /* Between a put and its wake. */
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .arena = arena }), 0);
    watch = watch_for(plait_any_queue_get(queue, NULL));
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_int_equal(child_run(put_without_a_wake, NULL), CHILD_SIGNALLED + SIGKILL);
    assert_true(tells(watch));
    plait_watch_free(watch);
    plait_queue_destroy(queue);

    /* With an item that comes again. */
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .arena = arena, .joinable = 1 }), 0);
    watch = watch_for(plait_any_queue_get(queue, NULL));
    put_one();
    child = child_start(get_and_die, NULL);
    assert_int_equal(child_end(child), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_true(tells(watch));
    get_one();
    assert_int_equal(plait_queue_task_done(queue, NULL), 0);
    plait_watch_free(watch);
    plait_queue_destroy(queue);

    /* With permits. */
    sem = take_place(sizeof *sem);
    assert_int_equal(plait_sem_init(sem, 2, PLAIT_SHARED | PLAIT_OWNED), 0);
    watch = watch_for(plait_any_sem_acquire(sem, 2));
    child = child_start(acquire_and_stop, NULL);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_true(is_quiet(watch));
    child_kill(child);
    assert_true(tells(watch));
    acquire_two();
    assert_int_equal(plait_watch_arm(watch), 0);
    assert_true(is_quiet(watch));
    release_two();
    assert_true(tells(watch));
    plait_watch_free(watch);
    plait_sem_fini(sem);
    give_back_place(sem);

    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Nothing is lost ---- */

static void *put_many(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    for (uint64_t i = 0; i < MANY; i++) {
        seed = seed * 1664525 + 1013904223;
        if (seed >> 28 == 0)
            plait_sleep(0.0005);
        plait_queue_put(queue, &i, PLAIT_FOREVER);
    }
    return NULL;
}

/* As the header's example; two of them compete. */
struct loop {
    plait_watch_t *watch;
    uint64_t got;
    int err;
};

static uint64_t got_by_all; /* atomic */

static void *poll_and_get(void *arg)
{
    struct loop *loop = arg;
    struct pollfd fd = { .fd = plait_watch_fileno(loop->watch), .events = POLLIN };
    uint64_t item;

    while (__atomic_load_n(&got_by_all, __ATOMIC_SEQ_CST) < 2 * MANY && loop->err == 0) {
        while (plait_queue_get(queue, &item, PLAIT_NOW) == 0)
            if (__atomic_add_fetch(&got_by_all, 1, __ATOMIC_SEQ_CST) == 2 * MANY)
                plait_queue_close(queue);
        if (plait_queue_is_closed(queue))
            break;
        loop->err = plait_watch_arm(loop->watch);
        if (poll(&fd, 1, SECONDS * 1000) != 1)
            loop->err = -1; /* a wake was lost */
    }
    return NULL;
}

static void nothing_is_lost_in_poll_loops(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        pthread_t producers[2], consumers[2];
        struct loop loops[2];

        if (shared)
            assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
        assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .maxsize = 8, .arena = arena }), 0);
        got_by_all = 0;
        for (int i = 0; i < 2; i++) {
            loops[i] = (struct loop){ .watch = watch_for(plait_any_queue_get(queue, NULL)) };
            assert_int_equal(pthread_create(&consumers[i], NULL, poll_and_get, &loops[i]), 0);
            assert_int_equal(pthread_create(&producers[i], NULL, put_many, (void *)(uintptr_t)(i + 1)), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(producers[i], NULL), 0);
            assert_int_equal(pthread_join(consumers[i], NULL), 0);
            assert_int_equal(loops[i].err, 0);
            assert_int_equal(plait_watch_free(loops[i].watch), 0);
        }
        assert_int_equal(got_by_all, 2 * MANY);
        plait_queue_destroy(queue);
    }
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

static void *get_many(void *arg)
{
    uint64_t item;
    int err = 0;

    for (int i = 0; i < 300 && err == 0; i++)
        err = plait_queue_get(queue, &item, plait_after(SECONDS));
    return err ? arg : NULL;
}

/* A wake that is spent on a watch goes on to who sleeps. */
static void watch_takes_no_wake_from_sleepers(void **state)
{
    pthread_t thread;
    plait_watch_t *watch;
    void *result;

    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    watch = watch_for(plait_any_queue_get(queue, NULL));
    assert_int_equal(pthread_create(&thread, NULL, get_many, queue), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(plait_watch_arm(watch), 0);
        if (i % 3 == 0)
            plait_sleep(0.001);
        put_one();
        while (plait_queue_qsize(queue))
            plait_sleep(0.0001);
    }
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    plait_watch_free(watch);
    plait_queue_free(queue);
}

/* ---- Lives ---- */

static void thread_is_there_while_there_are_watches(void **state)
{
    plait_watch_t *watches[3];
    int before;

    child_await_quiet(0); /* the last case's is ending */
    before = count_threads();
    event = calloc(1, sizeof *event);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            watches[i] = watch_for(plait_any_event_wait(event));
        assert_int_equal(count_threads(), before + 1);
        assert_int_equal(plait_watch_arm(watches[1]), 0);
        for (int i = 0; i < 3; i++)
            assert_int_equal(plait_watch_free(watches[i]), 0);
        await_no_thread(before);
    }
    free(event);
}

static void object_may_go_when_its_watch_is_free(void **state)
{
    for (int i = 0; i < 500; i++) {
        plait_event_t *gone = calloc(1, sizeof *gone);
        plait_watch_t *watch = watch_for(plait_any_event_wait(gone));

        assert_int_equal(plait_watch_arm(watch), 0);
        if (i % 3 == 0)
            plait_event_set(gone);
        if (i % 5 == 0)
            plait_sleep(0.0005);
        assert_int_equal(plait_watch_free(watch), 0);
        memset(gone, 0xff, sizeof *gone);
        free(gone);
    }
    assert_int_equal(plait_watch_free(NULL), 0);
}

static void many_watches_have_more_threads(void **state)
{
    enum { COUNT = 700 };
    static plait_event_t events[COUNT];
    static plait_watch_t *watches[COUNT];
    int before;

    child_await_quiet(0);
    before = count_threads();
    for (int i = 0; i < COUNT; i++) {
        watches[i] = watch_for(plait_any_event_wait(&events[i]));
        assert_int_equal(plait_watch_arm(watches[i]), 0);
    }
    assert_int_equal(count_threads(), before + 2);
    for (int i = 0; i < COUNT; i += 7) {
        int k = i * 11 % COUNT;

        plait_event_set(&events[k]);
        assert_true(tells(watches[k]));
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(plait_watch_free(watches[i]), 0);
    await_no_thread(before);
}

static plait_watch_t *parents;

static int use_in_child(void *unused)
{
    plait_watch_t *own;

    (void)unused;
    if (plait_watch_arm(parents) != EINVAL || plait_watch_free(parents))
        return 1;
    if (plait_watch_new(&own, plait_any_queue_get(queue, NULL)) || plait_watch_arm(own) || can_be_read(own, 10))
        return 2;
    put_one();
    if (!tells(own))
        return 3;
    return plait_watch_free(own) ? 4 : 0;
}

static void child_has_watches_of_its_own(void **state)
{
#ifdef PLAIT_UNDER_TSAN
    skip(); /* its run-time ends a child of a threaded program that starts threads */
#endif
    if (is_emulated()) /* and so does qemu-user */
        skip();
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    parents = watch_for(plait_any_queue_get(queue, NULL));
    assert_int_equal(plait_watch_arm(parents), 0);
    assert_int_equal(child_run(use_in_child, NULL), 0);
    assert_true(is_quiet(parents)); /* the queue is private: the child's is another */
    put_one();
    assert_true(tells(parents));
    assert_int_equal(plait_watch_free(parents), 0);
    plait_queue_free(queue);
}

static void what_cannot_be_watched_is_refused(void **state)
{
    plait_lock_t lock = PLAIT_LOCK_INIT;
    plait_watch_t *watch = (plait_watch_t *)&lock;

    assert_int_equal(plait_watch_new(&watch, plait_any_lock_acquire(&lock)), EINVAL);
    assert_null(watch);
    assert_int_equal(plait_watch_new(&watch, (struct plait_wait_entry){ 0 }), EINVAL);
    assert_null(watch);
}

/* A closed direction, another kind of queue. */
static void operation_that_the_object_has_not_is_refused(void **state)
{
    plait_pipe_t *a, *b;
    plait_queue_t *fifo;
    plait_watch_t *watch;

    assert_int_equal(plait_pipe_new(&a, &b, &(struct plait_pipe_opts){ .one_way = 1 }), 0);
    assert_int_equal(plait_queue_new(&fifo, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    {
        const struct plait_wait_entry entries[] = {
            plait_any_pipe_send(b, NULL, 0),       plait_any_pipe_commit(b, NULL),
            plait_any_pipe_recv(a, NULL, NULL),     plait_any_pipe_borrow(a, NULL),
            plait_any_pipe_poll(a),                 plait_any_queue_get_back(fifo, NULL),
            plait_any_queue_put_front(fifo, NULL),     plait_any_queue_borrow(fifo, NULL),
            plait_any_queue_commit(fifo, NULL),        plait_any_queue_get_ticket(fifo, NULL, NULL),
            plait_any_queue_put_priority(fifo, NULL, 1), plait_any_queue_join(fifo),
        };

        for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
            watch = (plait_watch_t *)&entries;
            assert_int_equal(plait_watch_new(&watch, entries[i]), EINVAL);
            assert_null(watch);
        }
    }
    assert_int_equal(plait_watch_new(&watch, plait_any_pipe_send(a, NULL, 0)), 0);
    assert_int_equal(plait_watch_free(watch), 0);
    plait_queue_free(fifo);
    plait_pipe_free(a);
    plait_pipe_free(b);
}

/* It never waits: the rule answers. */
static void put_with_an_overflow_rule_is_always_possible(void **state)
{
    static const enum plait_queue_overflow rules[] = { PLAIT_OVERFLOW_REFUSE, PLAIT_OVERFLOW_DROP_OLDEST, PLAIT_OVERFLOW_DROP_NEWEST };

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct plait_queue_opts opts = { .item_size = 8, .maxsize = 1, .overflow = rules[i] };
        uint64_t item = 1;
        plait_queue_t *q;
        plait_watch_t *watch;

        assert_int_equal(plait_queue_new(&q, &opts), 0);
        assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
        assert_int_equal(plait_watch_new(&watch, plait_any_queue_put(q, NULL)), 0);
        assert_int_equal(plait_watch_arm(watch), 0);
        assert_true(plait_watch_is_told(watch));
        assert_int_equal(plait_watch_free(watch), 0);
        plait_queue_free(q);
    }
}

static void signals_are_watched(void **state)
{
    plait_signal_t *waited;
    plait_watch_t *watch;
    struct plait_signal_info info;
    static const int numbers[] = { SIGUSR2, 0 };
    sigset_t set, before;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
    assert_int_equal(plait_signal_new(&waited, &(struct plait_signal_opts){ .signals = numbers }), 0);
    watch = watch_for(plait_any_signal_wait(waited, NULL));
    assert_int_equal(plait_watch_arm(watch), 0);
    kill(getpid(), SIGUSR2);
    assert_true(tells(watch));
    assert_int_equal(plait_signal_wait(waited, &info, PLAIT_NOW), 0);
    assert_int_equal(info.number, SIGUSR2);
    plait_watch_free(watch);
    plait_signal_free(waited);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_watched),
        cmocka_unit_test(thread_is_there_while_there_are_watches),
        cmocka_unit_test(child_has_watches_of_its_own),
        cmocka_unit_test(ends_of_threads_processes_and_tasks_are_watched),
        cmocka_unit_test(signals_are_watched),
        cmocka_unit_test(told_watch_is_left_alone_until_it_is_armed),
        cmocka_unit_test(subscriber_of_a_broadcast_is_watched),
        cmocka_unit_test(closed_queue_is_told),
        cmocka_unit_test(deaths_are_noticed),
        cmocka_unit_test(nothing_is_lost_in_poll_loops),
        cmocka_unit_test(watch_takes_no_wake_from_sleepers),
        cmocka_unit_test(object_may_go_when_its_watch_is_free),
        cmocka_unit_test(many_watches_have_more_threads),
        cmocka_unit_test(what_cannot_be_watched_is_refused),
        cmocka_unit_test(operation_that_the_object_has_not_is_refused),
        cmocka_unit_test(put_with_an_overflow_rule_is_always_possible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
