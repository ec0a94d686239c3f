/* SPDX-License-Identifier: MIT */
/* The contract of plait/rwlock.h, sentence by sentence: who gets in, and when. How it and its holders end: test_rwlock_ends.c. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/rwlock_scene.h"
#include "support/stage.h"
#include "arena/holds.h"
#include "sync/readers.h"
#include "sync/rwlock_shared.h"
#include "wait/caller.h"

enum { LOCKS_MAX = 1900, TOO_MANY_TO_READ = 4096 };

/* While set, the system has no memory for more. */
static bool no_memory;

int __real_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    return no_memory ? ENOMEM : __real_posix_memalign(out, alignment, size);
}

/* ---- Many readers or one writer ------------------------------------------------------------ */

static void rwlock_free_is_acquired_and_released(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
        assert_false(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(release(scene), 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
        assert_int_equal(write_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_true(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
        assert_int_equal(release(scene), 0);
    }
    assert_free(scene);
}

static void rwlock_read_lets_readers_in_and_no_writer(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    for (int i = 0; i < READERS; i++)
        w[i] = start_said(stage, read_until_told, scene);
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS);
    assert_int_equal(read_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS + 1);
    assert_int_equal(release(scene), 0);
    assert_int_equal(write_lock(scene, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_rwlock_fini(&scene->lock), EBUSY);
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void rwlock_written_lets_nobody_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = start_said(stage, write_until_told, scene);
    plait_time_t past[] = { PLAIT_NOW, -5, INT64_MIN, plait_now() - 1 };

    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
        assert_int_equal(read_lock(scene, past[i]), ETIMEDOUT);
        assert_int_equal(write_lock(scene, past[i]), ETIMEDOUT);
    }
    assert_true(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(plait_rwlock_fini(&scene->lock), EBUSY);
    assert_int_equal(release(scene), EPERM);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_times_out_never_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = start_said(stage, write_until_told, scene);

    for (int i = 0; i < 10; i++) {
        plait_time_t deadline = plait_after(0.002);

        assert_int_equal((i % 2 ? read_lock : write_lock)(scene, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_released_wakes_all_who_sleep(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[2 * READERS];

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2 * READERS; i++)
        w[i] = start_asleep(stage, i % 2 ? read_through : write_through, scene);
    assert_int_equal(release(scene), 0);
    for (int i = 0; i < 2 * READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void rwlock_last_reader_lets_the_writer_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    for (int i = 0; i < READERS; i++)
        readers[i] = start_said(stage, read_until_told, scene);
    w = start_asleep(stage, write_through, scene);
    assert_false(plait_rwlock_is_written(&scene->lock));
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_of_zero_bytes_is_private_and_free(void **state)
{
    static plait_rwlock_t zero, named = PLAIT_RWLOCK_INIT;

    (void)state;
    assert_int_equal(memcmp(&zero, &named, sizeof zero), 0);
    assert_int_equal(plait_rwlock_acquire_read(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_release(&zero), 0);
    assert_int_equal(plait_rwlock_acquire_write(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_release(&zero), 0);
    assert_int_equal(plait_rwlock_fini(&zero), 0);
}

static void rwlock_with_bad_flags_or_place_is_refused(void **state)
{
    plait_rwlock_t outside;

    (void)state;
    assert_int_equal(plait_rwlock_init(&outside, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_rwlock_init(&outside, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_rwlock_init(&outside, 1u << 30), EINVAL);
    assert_int_equal(plait_rwlock_init(NULL, 0), EINVAL);
    assert_int_equal(plait_rwlock_init(NULL, PLAIT_SHARED), EINVAL);
}

static void rwlock_in_reused_memory_is_free(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose(stage, scene, read_and_die);
    memset(&scene->lock, 0xa5, sizeof scene->lock);
    assert_int_equal(plait_rwlock_init(&scene->lock, stage->flags), 0);
    assert_free(scene);
}

/* ---- Whose hold it is ----------------------------------------------------------------------- */

static void rwlock_is_released_by_its_holder_only(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(release(scene), EPERM);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(run(stage, release_only, scene), EPERM);
    assert_int_equal(run(stage, downgrade_only, scene), EPERM);
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(run(stage, release_only, scene), EPERM);
    assert_int_equal(run(stage, downgrade_only, scene), EPERM);
    assert_int_equal(run(stage, consistent_only, scene), stage->flags ? EPERM : EINVAL);
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_free(scene);
}

static void rwlock_reader_reads_again_while_a_writer_waits(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(run(stage, try_read, scene), ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(read_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(release(scene), 0);
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_is_not_upgraded(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(write_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), EPERM);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_writer_acquires_nothing_more(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(read_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    assert_true(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_downgraded_is_read(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, read_through, scene);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), 0);
    assert_false(plait_rwlock_is_written(&scene->lock));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    assert_int_equal(write_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), EPERM);
    assert_int_equal(run(stage, try_write, scene), ETIMEDOUT);
    assert_true(EVENTUALLY(thread_sleeps(w->tid)));
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

/* More than a row of holds has place for, released in another order. */
static void rwlock_many_are_read_at_once(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            assert_int_equal(plait_rwlock_acquire_read(&scene->more[i], PLAIT_FOREVER), 0);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(plait_rwlock_acquire_write(&scene->more[i], PLAIT_NOW), EDEADLK);
            assert_int_equal(plait_rwlock_readers(&scene->more[i]), 1);
        }
        for (int i = 0; i < MANY; i++) {
            int n = i * 5 % MANY;

            assert_int_equal(plait_rwlock_acquire_read(&scene->more[n], PLAIT_NOW), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), EPERM);
            assert_int_equal(plait_rwlock_acquire_write(&scene->more[n], PLAIT_NOW), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
        }
    }
}

static int read_in_read_only_memory(void *arg)
{
    plait_rwlock_t *lock = arg;
    int err = plait_rwlock_acquire_read(lock, PLAIT_FOREVER); /* once: the group of the thread has a bit from now on */

    err |= plait_rwlock_release(lock);
    if (err || mprotect(lock, (size_t)sysconf(_SC_PAGESIZE), PROT_READ) != 0)
        return 1;
    for (int i = 0; i < 100; i++) {
        err |= plait_rwlock_acquire_read(lock, i % 2 ? PLAIT_NOW : PLAIT_FOREVER);
        err |= plait_rwlock_acquire_read(lock, PLAIT_FOREVER);
        err |= plait_rwlock_release(lock);
        err |= plait_rwlock_readers(lock) != 1 || plait_rwlock_is_written(lock);
        err |= plait_rwlock_release(lock);
    }
    return err ? 2 : 0;
}

static void reading_writes_nothing_to_the_lock(void **state)
{
    struct stage *stage = *state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = stage_alloc(stage, 3 * page);
    plait_rwlock_t *lock = (plait_rwlock_t *)(memory + page - (uintptr_t)memory % page);

    assert_non_null(memory);
    assert_int_equal(plait_rwlock_init(lock, stage->flags), 0);
    assert_int_equal(child_run(read_in_read_only_memory, lock), 0);
}

/* ---- What there is no place for --------------------------------------------------------------- */

static uint32_t *own_depth(plait_rwlock_t *lock)
{
    struct plait__reader_row *row;
    struct plait__slot *self;

    if (!lock->writer.mode)
        return &plait__reader_find(lock, plait__caller(), &row)->depth;
    assert_int_equal(plait__member(plait__rwlock_header(lock), &self), 0);
    return &plait__hold_find(plait__rwlock_header(lock), self, plait__hold_of(lock->writer.arena_offset, PLAIT__HOLD_COUNT))
                ->count;
}

static void rwlock_is_read_2_to_the_32_times_less_one(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    *own_depth(&scene->lock) = UINT32_MAX - 1;
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), EOVERFLOW);
    assert_int_equal(read_lock(scene, PLAIT_NOW), EOVERFLOW);
    assert_int_equal(release(scene), 0);
    assert_int_equal(read_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    *own_depth(&scene->lock) = 1;
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_free(scene);
}

/* `count` of them are read; the next is not, for want of `err`. */
static void assert_no_more(plait_rwlock_t *locks, int count, int err)
{
    plait_rwlock_t *next = &locks[count];

    assert_int_equal(plait_rwlock_acquire_read(next, PLAIT_FOREVER), err);
    assert_int_equal(plait_rwlock_readers(next), 0);
    assert_int_equal(plait_rwlock_release(next), EPERM);
    assert_int_equal(plait_rwlock_acquire_read(&locks[0], PLAIT_NOW), 0); /* again, which takes no place */
    assert_int_equal(plait_rwlock_release(&locks[0]), 0);
    assert_int_equal(plait_rwlock_acquire_write(next, PLAIT_FOREVER), 0);
    assert_int_equal(plait_rwlock_downgrade(next), err);
    assert_true(plait_rwlock_is_written(next));
    assert_int_equal(plait_rwlock_release(next), 0);
    assert_int_equal(plait_rwlock_release(&locks[--count]), 0);
    assert_int_equal(plait_rwlock_acquire_read(next, PLAIT_NOW), 0); /* in its place */
    assert_int_equal(plait_rwlock_release(next), 0);
    while (count > 0)
        assert_int_equal(plait_rwlock_release(&locks[--count]), 0);
}

static void rwlock_beyond_the_first_needs_memory_to_be_read(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_rwlock_t *locks = calloc(TOO_MANY_TO_READ, sizeof *locks);
    int count = 0;

    no_memory = true;
    while (count < TOO_MANY_TO_READ - 1 && plait_rwlock_acquire_read(&locks[count], PLAIT_FOREVER) == 0)
        count++;
    assert_in_range(count, 4, TOO_MANY_TO_READ - 2);
    assert_no_more(locks, count, ENOMEM);
    assert_int_equal(run(*state, try_read, scene), ENOMEM);
    assert_int_equal(run(*state, try_write, scene), ENOMEM);
    assert_free(scene);
    no_memory = false;
    assert_int_equal(run(*state, try_write, scene), 0);
    for (int i = 0; i <= count; i++)
        assert_int_equal(plait_rwlock_acquire_read(&locks[i], PLAIT_NOW), 0);
    for (int i = 0; i <= count; i++) {
        assert_int_equal(plait_rwlock_release(&locks[i]), 0);
        assert_int_equal(plait_rwlock_fini(&locks[i]), 0);
    }
    free(locks);
}

static void rwlock_in_a_full_arena_is_not_read_beyond_the_first(void **state)
{
    plait_arena_t *arena;
    plait_rwlock_t *locks;
    void *memory;
    int count = 0;

    (void)state;
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 2 }), 0);
    assert_int_equal(plait_arena_alloc(arena, MANY * sizeof *locks, (void **)&locks), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(plait_rwlock_init(&locks[i], PLAIT_SHARED), 0);
    for (size_t size = 1u << 16; size >= 16; size /= 2)
        while (plait_arena_alloc(arena, size, &memory) == 0)
            ;
    while (count < MANY - 1 && plait_rwlock_acquire_read(&locks[count], PLAIT_FOREVER) == 0)
        count++;
    assert_in_range(count, 1, MANY - 2);
    assert_no_more(locks, count, ENOSPC);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void init_only(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_rwlock_init(&scene->lock, PLAIT_SHARED);
}

static void rwlock_has_no_place_for_another_thread(void **state)
{
    struct stage *stage = *state;
    plait_arena_t *arena;
    struct scene *scene;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *scene, (void **)&scene), 0);
    memset(scene, 0, sizeof *scene);
    assert_int_equal(plait_rwlock_init(&scene->lock, PLAIT_SHARED), 0);
    assert_int_equal(run(stage, try_read, scene), ENOSPC);
    assert_int_equal(run(stage, try_write, scene), ENOSPC);
    assert_free(scene);
    assert_int_equal(plait_rwlock_fini(&scene->lock), 0);
    assert_int_equal(run(stage, init_only, scene), ENOSPC);
    assert_int_equal(plait_rwlock_init(&scene->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void rwlock_beyond_1900_locks_is_not_written(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_lock_t *locks = stage_alloc(stage, LOCKS_MAX * sizeof *locks);

    assert_non_null(locks);
    for (int i = 0; i < LOCKS_MAX; i++) {
        assert_int_equal(plait_lock_init(&locks[i], PLAIT_SHARED), 0);
        assert_int_equal(plait_lock_acquire(&locks[i], PLAIT_FOREVER), 0);
    }
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), EOVERFLOW);
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(release(scene), 0);
    assert_int_equal(plait_lock_release(&locks[0]), 0);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(release(scene), 0);
    for (int i = 1; i < LOCKS_MAX; i++)
        assert_int_equal(plait_lock_release(&locks[i]), 0);
    assert_free(scene);
}

/* ---- Cancel ----------------------------------------------------------------------------- */

static void rwlock_waiters_are_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        w[i] = start_asleep(stage, i % 2 ? read_through_bound : write_through_bound, scene);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), ECANCELED);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_with_the_token_set_is_acquired_only_if_free(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_free(scene);
    w = start_said(stage, write_until_told, scene);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(read_lock(scene, PLAIT_NOW), ECANCELED);
    assert_int_equal(write_lock(scene, PLAIT_NOW), ECANCELED);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    plait_cancel_bind(NULL);
    assert_free(scene);
}

/* A request that was made before has no effect on any of the calls, which wait. */
static void *acquire_with_a_request(void *arg)
{
    struct scene *scene = arg;
    intptr_t wrong = 0;

    pthread_cancel(pthread_self());
    wrong |= read_lock(scene, plait_after(0.02)) != ETIMEDOUT;
    wrong |= write_lock(scene, plait_after(0.02)) != ETIMEDOUT;
    wrong |= plait_rwlock_acquire_read(&scene->more[0], PLAIT_FOREVER) || plait_rwlock_release(&scene->more[0]);
    wrong |= plait_rwlock_acquire_write(&scene->more[0], PLAIT_FOREVER) || plait_rwlock_downgrade(&scene->more[0]) ||
             plait_rwlock_release(&scene->more[0]);
    __atomic_store_n(&scene->turns, wrong ? 2 : 1, __ATOMIC_RELEASE);
    pthread_testcancel();
    return NULL;
}

static void rwlock_calls_are_no_cancellation_points(void **state)
{
    struct scene *scene = scene_of(*state);
    pthread_t thread;
    void *result;

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(pthread_create(&thread, NULL, acquire_with_a_request, scene), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_int_equal(scene->turns, 1);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

/* ---- Fairness ------------------------------------------------------------------------------ */

static void writer_keeps_new_readers_out_until_it_gives_up(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    w = start_asleep(stage, write_through_bound, scene);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, read_through, scene);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    plait_cancel_set(&scene->token);
    assert_int_equal(worker_result(w), ECANCELED);
    for (int i = 0; i < READERS; i++) /* while we read */
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void writer_whose_time_is_up_lets_readers_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    scene->deadline = plait_after(0.1);
    w = start_said(stage, write_through, scene);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_said(stage, wait_and_read_until_told, scene);
    assert_int_equal(worker_result(w), ETIMEDOUT);
    for (int i = 0; i < READERS; i++)
        assert_true(worker_said(readers[i], 2));
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS + 1);
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

/* Two writers in a row: the reader that sleeps already reads between them. */
static void readers_who_wait_get_in_before_the_next_writer(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, wait_and_read_until_told, scene);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(release(scene), 0);
    for (int i = 0; i < READERS; i++)
        assert_true(worker_said(readers[i], 2));
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS);
    assert_true(__atomic_load_n(&w->phase, __ATOMIC_ACQUIRE) == 1);
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

/* The same, when the writer that releases is at once the next to come: the sleeping reader was let in by the release. A shared one
 * does that every few milliseconds. */
static void readers_who_wait_get_in_before_the_same_writer_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int round = 0; round < 20; round++) {
        struct worker *reader;

        assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
        reader = start_asleep(stage, read_through, scene);
        if (stage->flags & PLAIT_SHARED)
            plait_sleep(0.01);
        assert_int_equal(release(scene), 0);
        assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
        assert_true(__atomic_load_n(&reader->phase, __ATOMIC_ACQUIRE) == 2);
        assert_int_equal(release(scene), 0);
        assert_int_equal(worker_result(reader), 0);
    }
    assert_free(scene);
}

static void flood(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = 0;
    while (self->result == 0 && !__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE)) {
        self->result = acquire(scene, PLAIT_FOREVER);
        __atomic_fetch_add(&scene->turns, 1, __ATOMIC_RELAXED);
        if (self->result == 0)
            self->result = release(scene);
    }
}

static void flood_reading(struct worker *self) { flood(self, read_lock); }
static void flood_writing(struct worker *self) { flood(self, write_lock); }

/* Somebody goes through a hundred times among those who do nothing else. */
static void go_through_a_flood(struct stage *stage, void (*flooder)(struct worker *),
                               int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    for (int i = 0; i < READERS; i++)
        assert_non_null(w[i] = worker_start(stage, flooder, scene));
    assert_true(EVENTUALLY(__atomic_load_n(&scene->turns, __ATOMIC_RELAXED) > 100));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(acquire(scene, plait_after(20)), 0);
        assert_int_equal(release(scene), 0);
    }
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void writer_is_not_starved_by_readers(void **state) { go_through_a_flood(*state, flood_reading, write_lock); }
static void reader_is_not_starved_by_writers(void **state) { go_through_a_flood(*state, flood_writing, read_lock); }
static void writer_is_not_starved_by_writers(void **state) { go_through_a_flood(*state, flood_writing, write_lock); }

/* ---- Very many -------------------------------------------------------------------------------- */

/* More threads than have rows in the library itself, all reading. */
enum { CROWD = 200 };

struct crowd {
    struct scene *scene;
    pthread_barrier_t in;
};

static void *read_in_crowd(void *arg)
{
    struct crowd *crowd = arg;
    int err = read_lock(crowd->scene, PLAIT_FOREVER);

    pthread_barrier_wait(&crowd->in);
    may_go(crowd->scene);
    return (void *)(intptr_t)(err ? err : release(crowd->scene));
}

static void rwlock_is_read_by_hundreds(void **state)
{
    struct crowd crowd = { .scene = scene_of(*state) };
    pthread_t threads[CROWD];
    void *err;

    pthread_barrier_init(&crowd.in, NULL, CROWD + 1);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_crowd, &crowd), 0);
    pthread_barrier_wait(&crowd.in);
    assert_int_equal(plait_rwlock_readers(&crowd.scene->lock), CROWD);
    assert_int_equal(write_lock(crowd.scene, PLAIT_NOW), ETIMEDOUT);
    let_go(crowd.scene);
    assert_int_equal(write_lock(crowd.scene, plait_after(20)), 0);
    assert_int_equal(release(crowd.scene), 0);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_join(threads[i], &err), 0);
        assert_int_equal((intptr_t)err, 0);
    }
    pthread_barrier_destroy(&crowd.in);
    assert_free(crowd.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(rwlock_free_is_acquired_and_released),
        EVERYWHERE(rwlock_read_lets_readers_in_and_no_writer),
        EVERYWHERE(rwlock_written_lets_nobody_in),
        EVERYWHERE(rwlock_times_out_never_early),
        EVERYWHERE(rwlock_released_wakes_all_who_sleep),
        EVERYWHERE(rwlock_last_reader_lets_the_writer_in),
        PRIVATE(rwlock_of_zero_bytes_is_private_and_free),
        PRIVATE(rwlock_with_bad_flags_or_place_is_refused),
        PROCESSES(rwlock_in_reused_memory_is_free),
        EVERYWHERE(rwlock_is_released_by_its_holder_only),
        EVERYWHERE(rwlock_reader_reads_again_while_a_writer_waits),
        EVERYWHERE(rwlock_is_not_upgraded),
        EVERYWHERE(rwlock_writer_acquires_nothing_more),
        EVERYWHERE(rwlock_downgraded_is_read),
        EVERYWHERE(rwlock_many_are_read_at_once),
        EVERYWHERE(reading_writes_nothing_to_the_lock),
        PRIVATE(rwlock_is_read_2_to_the_32_times_less_one),
        STAGE_CASE(rwlock_is_read_2_to_the_32_times_less_one, THREADS),
        PRIVATE(rwlock_beyond_the_first_needs_memory_to_be_read),
        PRIVATE(rwlock_in_a_full_arena_is_not_read_beyond_the_first),
        STAGE_CASE(rwlock_has_no_place_for_another_thread, THREADS),
        STAGE_CASE(rwlock_beyond_1900_locks_is_not_written, THREADS),
        EVERYWHERE(rwlock_waiters_are_cancelled),
        EVERYWHERE(rwlock_with_the_token_set_is_acquired_only_if_free),
        PRIVATE(rwlock_calls_are_no_cancellation_points),
        STAGE_CASE(rwlock_calls_are_no_cancellation_points, THREADS),
        EVERYWHERE(writer_keeps_new_readers_out_until_it_gives_up),
        EVERYWHERE(writer_whose_time_is_up_lets_readers_in),
        EVERYWHERE(readers_who_wait_get_in_before_the_next_writer),
        EVERYWHERE(readers_who_wait_get_in_before_the_same_writer_again),
        EVERYWHERE(writer_is_not_starved_by_readers),
        EVERYWHERE(reader_is_not_starved_by_writers),
        EVERYWHERE(writer_is_not_starved_by_writers),
        PRIVATE(rwlock_is_read_by_hundreds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
