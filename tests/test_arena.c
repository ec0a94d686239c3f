/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: handles, allocation, names, references. Each sentence of plait/arena.h is a case here or in
 * test_arena_named, test_arena_member, test_arena_damage and test_arena_full. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

static plait_arena_t *arena;

static int make(void **state)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 16 << 20, .participants = 64 });
}

static int drop(void **state)
{
    char text[200];
    int err = plait_arena_check(arena, text, sizeof text);

    if (err)
        print_error("check: %s\n", text);
    return err ? err : plait_arena_free(arena);
}

static void *alloc(size_t size)
{
    void *memory = NULL;

    assert_int_equal(plait_arena_alloc(arena, size, &memory), 0);
    return memory;
}

static size_t used(void)
{
    size_t bytes;

    assert_int_equal(plait_arena_usage(arena, &bytes, NULL, NULL), 0);
    return bytes;
}

static bool all_bytes_are(const void *memory, int byte, size_t size)
{
    const unsigned char *p = memory;

    for (size_t i = 0; i < size; i++)
        if (p[i] != byte)
            return false;
    return true;
}

/* ---- Making and dropping ---- */

static void arena_without_options_has_the_defaults(void **state)
{
    plait_arena_t *a;
    size_t in_use, reserved, limit;

    assert_int_equal(plait_arena_new(&a, NULL), 0);
    assert_int_equal(plait_arena_usage(a, &in_use, &reserved, &limit), 0);
    assert_int_equal(in_use, 0);
    assert_int_equal(limit, 1 << 30);
    assert_true(reserved < 1 << 20);
    assert_int_equal(a->base->participants, 1024);
    assert_int_equal(plait_arena_free(a), 0);
}

static void arena_limit_is_rounded_up_to_pages(void **state)
{
    plait_arena_t *a;
    size_t limit;

    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .limit = (1 << 20) + 1 }), 0);
    assert_int_equal(plait_arena_usage(a, NULL, NULL, &limit), 0);
    assert_int_equal(limit, (1 << 20) + sysconf(_SC_PAGESIZE));
    assert_int_equal(plait_arena_free(a), 0);
}

static void arena_with_absurd_options_is_refused(void **state)
{
    static char memory[4096];
    const struct plait_arena_opts absurd[] = {
        { .limit = SIZE_MAX },
        { .limit = SIZE_MAX - 4095 },
        { .limit = (size_t)1 << 62 },
        { .limit = 1 },
        { .limit = 4096 },
        { .limit = 1 << 20, .participants = 32768 },
        { .participants = 32769 },
        { .participants = UINT32_MAX },
        { .open = (enum plait_open)3 },
        { .open = (enum plait_open)-1 },
        { .memory_size = 1 << 20 },
        { .memory = memory, .name = "x", .memory_size = 1 << 20 },
    };

    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        plait_arena_t *a = (plait_arena_t *)1;

        assert_int_equal(plait_arena_new(&a, &absurd[i]), EINVAL);
        assert_null(a);
    }
}

static void arena_options_of_another_size_are_understood(void **state)
{
    struct {
        struct plait_arena_opts known;
        long more;
    } newer = { .known = { .limit = 1 << 20 } };
    plait_arena_t *a;

    assert_int_equal(plait_arena_new_sized(&a, &newer.known, sizeof newer), 0);
    assert_int_equal(plait_arena_free(a), 0);
    newer.more = 1;
    assert_int_equal(plait_arena_new_sized(&a, &newer.known, sizeof newer), EINVAL);
    assert_int_equal(plait_arena_new_sized(&a, &newer.known, offsetof(struct plait_arena_opts, mode)), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void arena_free_of_null_is_allowed(void **state)
{
    assert_int_equal(plait_arena_free(NULL), 0);
}

static void arena_made_and_dropped_leaves_nothing_open_or_mapped(void **state)
{
    size_t limit = (size_t)1 << (is_emulated() ? 24 : 40); /* qemu-user keeps a record of every page, for good */
    int before = count_descriptors();
    void *first = NULL;
    plait_arena_t *a;

    /* Two hundred of them are more than the addresses that there are, but for valgrind, which leaves less. */
    while (plait_arena_new(&a, &(struct plait_arena_opts){ .limit = limit }) == ENOMEM && limit > (size_t)1 << 30)
        limit /= 2;
    assert_int_equal(plait_arena_free(a), 0);
    for (int i = 0; i < 200; i++) {
        void *memory;

        assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .limit = limit }), 0);
        assert_int_equal(plait_arena_alloc(a, 100, &memory), 0); /* takes part */
        if (!first)
            first = memory;
        assert_int_equal(plait_arena_free(a), 0);
        assert_null(plait_arena_of(memory));
    }
    assert_int_equal(count_descriptors(), before);
}

/* ---- Fork ---- */

struct pair {
    plait_lock_t lock;
    int n, twice; /* guarded by lock; twice == 2 n */
    uint64_t from_child;
};

static int add_1000(void *arg)
{
    struct pair *p = arg;

    for (int i = 0; i < 1000; i++) {
        if (plait_lock_acquire(&p->lock, PLAIT_FOREVER))
            return 1;
        p->n++;
        p->twice += 2;
        if (plait_lock_release(&p->lock))
            return 2;
    }
    return 0;
}

static int alloc_and_tell(void *arg)
{
    struct pair *p = arg;
    int *number;

    if (plait_arena_alloc(arena, sizeof *number, (void **)&number) || *number != 0)
        return 1;
    *number = 4711;
    p->from_child = plait__offset_in(arena->base, number);
    return 0;
}

static void arena_anonymous_is_shared_over_fork_at_once(void **state)
{
    struct pair *p = alloc(sizeof *p);
    pid_t child[3];

    assert_int_equal(plait_lock_init(&p->lock, PLAIT_SHARED), 0);
    for (int i = 0; i < 3; i++)
        child[i] = child_start(add_1000, p);
    assert_int_equal(add_1000(p), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(child_end(child[i]), 0);
    assert_int_equal(p->n, 4000);
    assert_int_equal(p->twice, 8000);
}

static void arena_block_of_a_child_outlives_it(void **state)
{
    struct pair *p = alloc(sizeof *p);

    assert_int_equal(child_run(alloc_and_tell, p), 0);
    assert_int_equal(*(int *)plait__at(arena->base, p->from_child), 4711);
    assert_int_equal(plait_arena_dealloc(arena, plait__at(arena->base, p->from_child)), 0);
}

static int fork_again(void *arg)
{
    return child_run(add_1000, arg) || add_1000(arg) ? 1 : 0;
}

static void arena_is_shared_with_grandchildren(void **state)
{
    struct pair *p = alloc(sizeof *p);

    assert_int_equal(plait_lock_init(&p->lock, PLAIT_SHARED), 0);
    assert_int_equal(child_run(fork_again, p), 0);
    assert_int_equal(p->n, 2000);
}

/* ---- The program's own mapping ---- */

static void arena_in_own_memory_is_opened_again_there(void **state)
{
    size_t size = 1 << 20;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts opts = { .memory = memory, .memory_size = size, .participants = 16 };
    plait_arena_t *a, *again;
    void *block, *found;

    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(plait_arena_new(&a, &opts), 0);
    assert_int_equal(plait_arena_alloc(a, 10, &block), 0);
    assert_int_equal(plait_arena_publish(a, "it", block), 0);
    assert_int_equal(plait_arena_new(&again, &opts), 0);
    assert_ptr_equal(a, again);
    assert_int_equal(plait_arena_free(a), 0);
    assert_int_equal(plait_arena_free(again), 0);

    assert_int_equal(plait_arena_new(&a, &opts), 0); /* it stays mapped, and an arena */
    assert_int_equal(plait_arena_lookup(a, "it", &found), 0);
    assert_ptr_equal(found, block);
    assert_int_equal(plait_arena_check(a, NULL, 0), 0);
    assert_int_equal(plait_arena_free(a), 0);
    munmap(memory, size);
}

struct own {
    struct plait_arena_opts opts;
    uint32_t *go; /* atomic */
};

static int make_when_told(void *arg)
{
    struct own *own = arg;
    plait_arena_t *a;
    void *block;

    while (!__atomic_load_n(own->go, __ATOMIC_ACQUIRE))
        ;
    if (plait_arena_new(&a, &own->opts))
        return 1;
    if (plait_arena_alloc(a, 1000, &block))
        return 2;
    return plait_arena_free(a) ? 3 : 0;
}

static void arena_in_own_memory_is_made_by_one_of_several(void **state)
{
    size_t size = 1 << 20, used;
    uint32_t *go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    for (int round = 0; round < 30; round++) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct own own = { { .memory = memory, .memory_size = size, .participants = 1000 }, go };
        plait_arena_t *a;
        pid_t pids[4];

        __atomic_store_n(go, 0, __ATOMIC_RELAXED);
        for (int i = 0; i < 4; i++)
            pids[i] = child_start(make_when_told, &own);
        __atomic_store_n(go, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < 4; i++)
            assert_int_equal(child_end(pids[i]), 0);
        assert_int_equal(plait_arena_new(&a, &own.opts), 0);
        assert_int_equal(plait_arena_usage(a, &used, NULL, NULL), 0);
        assert_int_equal(used, 4 * 1024);
        assert_int_equal(plait_arena_check(a, NULL, 0), 0);
        assert_int_equal(plait_arena_free(a), 0);
        munmap(memory, size);
    }
    munmap(go, 4096);
}

static int begin_to_make_and_die(void *arg)
{
    struct plait__arena_header *h = arg;
    bool was_dead;

    h->magic = PLAIT__ARENA_MAKING ^ (uint32_t)plait__robust_layout();
    h->making.mode = PLAIT_SHARED | (plait__robust_list_works() ? 0 : PLAIT__LOCK_NO_LIST);
    h->making.arena_offset = offsetof(struct plait__arena_header, making);
    if (plait__robust_claim(&h->making, 0, &was_dead))
        return 1;
    memset(&h->version, 0xee, offsetof(struct plait__arena_header, making) - offsetof(struct plait__arena_header, version));
    memset(h + 1, 0xee, 4096);
    h->slots_high = 0; /* as every maker leaves it */
    kill(getpid(), SIGKILL);
    return 2;
}

static void arena_in_own_memory_whose_maker_was_killed_is_made_by_the_next(void **state)
{
    size_t size = 1 << 20, used = 1;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    plait_arena_t *a;

    assert_int_equal(child_run(begin_to_make_and_die, memory), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .memory = memory, .memory_size = size }), 0);
    assert_int_equal(plait_arena_usage(a, &used, NULL, NULL), 0);
    assert_int_equal(used, 0);
    assert_int_equal(plait_arena_check(a, NULL, 0), 0);
    assert_int_equal(plait_arena_free(a), 0);
    munmap(memory, size);
}

static void arena_in_own_memory_is_refused_when_it_does_not_fit(void **state)
{
    size_t size = 1 << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts bad[] = {
        { .memory = memory + 1, .memory_size = size - 4096 },
        { .memory = memory, .memory_size = 0 },
        { .memory = memory, .memory_size = 252 * 1024 },
        { .memory = memory, .memory_size = size - 1 },
        { .memory = memory, .memory_size = SIZE_MAX },
        { .memory = memory, .memory_size = size, .participants = 32768 },
        { .memory = memory, .memory_size = size, .participants = 40000 },
    };
    plait_arena_t *a;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(plait_arena_new(&a, &bad[i]), EINVAL);
    assert_true(all_bytes_are(memory, 0, size));
    munmap(memory, size);
}

/* ---- Allocation ---- */

static void alloc_of_nothing_is_refused(void **state)
{
    void *memory = arena;

    assert_int_equal(plait_arena_alloc(arena, 0, &memory), EINVAL);
    assert_ptr_equal(memory, arena);
}

static void alloc_beyond_the_limit_is_refused(void **state)
{
    const size_t sizes[] = { 16 << 20, (16 << 20) + 1, (size_t)1 << 46, SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX };
    void *memory;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_int_equal(plait_arena_alloc(arena, sizes[i], &memory), ENOSPC);
    assert_int_equal(used(), 0);
}

static void alloc_gives_zeroed_aligned_memory_of_its_own(void **state)
{
    enum { COUNT = 300 };
    unsigned char *blocks[COUNT];
    size_t sizes[COUNT];

    for (int round = 0; round < 2; round++) { /* the second finds used memory */
        for (int i = 0; i < COUNT; i++) {
            sizes[i] = (size_t)(1 + i * i / 4);
            blocks[i] = alloc(sizes[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            if (sizes[i] >= 64)
                assert_int_equal((uintptr_t)blocks[i] % 64, 0);
            assert_true(all_bytes_are(blocks[i], 0, sizes[i]));
            memset(blocks[i], i + 1, sizes[i]);
        }
        for (int i = 0; i < COUNT; i++)
            assert_true(all_bytes_are(blocks[i], (i + 1) & 0xff, sizes[i]));
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(plait_arena_dealloc(arena, blocks[i]), 0);
    }
    assert_int_equal(used(), 0);
}

static void alloc_takes_what_was_given_back(void **state)
{
    size_t before, after;
    void *first = alloc(1000);

    assert_int_equal(plait_arena_dealloc(arena, first), 0);
    plait_arena_usage(arena, NULL, &before, NULL);
    for (int i = 0; i < 50000; i++) {
        void *memory = alloc(900 + (size_t)i % 100);

        assert_ptr_equal(memory, first);
        assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    }
    plait_arena_usage(arena, NULL, &after, NULL);
    assert_int_equal(before, after);
}

static void alloc_at_the_limit_answers_ENOSPC_and_goes_on_after_dealloc(void **state)
{
    void *last = NULL, *memory;
    size_t count = 0;
    int err;

    while ((err = plait_arena_alloc(arena, 60000, &memory)) == 0) {
        last = memory;
        count++;
    }
    assert_int_equal(err, ENOSPC);
    assert_true(count > 200);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_dealloc(arena, last), 0);
    assert_ptr_equal(alloc(60000), last);
}

static blkcnt_t blocks_of_file(void)
{
    struct stat st;

    assert_int_equal(fstat(plait__arena_fd(arena), &st), 0);
    return st.st_blocks;
}

static void dealloc_of_a_large_block_gives_its_pages_back(void **state)
{
    size_t size = 4 << 20;
    unsigned char *memory = alloc(size);
    blkcnt_t with, without;

    memset(memory, 1, size);
    with = blocks_of_file();
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    without = blocks_of_file();
    assert_true((with - without) * 512 >= (blkcnt_t)size - 2 * sysconf(_SC_PAGESIZE));
    assert_ptr_equal(alloc(size), memory);
    assert_true(all_bytes_are(memory, 0, size));
    assert_true(blocks_of_file() >= with);
}

static void dealloc_of_null_is_allowed(void **state)
{
    assert_int_equal(plait_arena_dealloc(arena, NULL), 0);
}

static void dealloc_of_what_is_no_block_is_refused(void **state)
{
    char *block = alloc(1000), *freed = alloc(1000), here;
    char *base = (char *)arena->base;
    size_t before;
    char *wrong[] = {
        block + 1, block + 16, block + 64, block + 999, block - 16, block - 64, freed,
        base, base + 1, base + 16, base + 100, base + plait__slots_offset(), base + (16 << 20) - 64,
        base + (16 << 20), base - 1, &here, (char *)1, (char *)UINTPTR_MAX,
    };

    /* What lies inside a block must not be able to pass for one. */
    memcpy(block + 48, block - 16, 16);
    assert_int_equal(plait_arena_dealloc(arena, freed), 0);
    before = used();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(plait_arena_dealloc(arena, wrong[i]), EINVAL);
    assert_int_equal(used(), before);
    assert_int_equal(plait_arena_dealloc(arena, block), 0);
    assert_int_equal(plait_arena_dealloc(arena, block), EINVAL);
}

static void usage_counts_blocks(void **state)
{
    size_t reserved, limit;
    void *memory;

    assert_int_equal(plait_arena_usage(arena, NULL, NULL, NULL), 0);
    assert_int_equal(used(), 0);
    memory = alloc(10000);
    assert_true(used() >= 10000 && used() <= 13000);
    assert_int_equal(plait_arena_usage(arena, NULL, &reserved, &limit), 0);
    assert_true(reserved >= used() && reserved <= limit);
    assert_int_equal(limit, 16 << 20);
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    assert_int_equal(used(), 0);
}

/* ---- Addresses, names, references ---- */

static void arena_of_knows_its_addresses(void **state)
{
    char *base = (char *)arena->base;
    plait_arena_t *other;
    void *memory;
    int here = 0;

    assert_int_equal(plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1 << 20 }), 0);
    assert_int_equal(plait_arena_alloc(other, 1, &memory), 0);
    assert_ptr_equal(plait_arena_of(memory), other);
    assert_int_equal(plait_arena_free(other), 0);
    assert_null(plait_arena_of(memory));
    assert_ptr_equal(plait_arena_of(alloc(1)), arena);
    assert_ptr_equal(plait_arena_of(base), arena);
    assert_ptr_equal(plait_arena_of(base + (16 << 20) - 1), arena);
    assert_null(plait_arena_of(&here));
    assert_null(plait_arena_of(NULL));
    assert_null(plait_arena_of((void *)UINTPTR_MAX));
}

static void name_published_is_found_until_taken_away(void **state)
{
    char *memory = alloc(100);
    void *found = NULL;

    assert_int_equal(plait_arena_lookup(arena, "a", &found), ENOENT);
    assert_int_equal(plait_arena_publish(arena, "a", memory + 3), 0);
    assert_int_equal(plait_arena_publish(arena, "a", memory), EEXIST);
    assert_int_equal(plait_arena_publish(arena, "b", memory), 0);
    assert_int_equal(plait_arena_lookup(arena, "a", &found), 0);
    assert_ptr_equal(found, memory + 3);
    assert_int_equal(plait_arena_unpublish(arena, "a"), 0);
    assert_int_equal(plait_arena_unpublish(arena, "a"), ENOENT);
    assert_int_equal(plait_arena_lookup(arena, "a", &found), ENOENT);
    assert_int_equal(plait_arena_lookup(arena, "b", &found), 0);
    assert_ptr_equal(found, memory);
    memory[3] = 1; /* the memory stays */
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
}

static void name_that_is_bad_is_refused(void **state)
{
    char longest[65];
    const char *bad[] = { NULL, "", longest };
    void *memory = alloc(1), *found = NULL;

    memset(longest, 'x', 64);
    longest[64] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(plait_arena_publish(arena, bad[i], memory), EINVAL);
        assert_int_equal(plait_arena_lookup(arena, bad[i], &found), EINVAL);
        assert_int_equal(plait_arena_unpublish(arena, bad[i]), EINVAL);
    }
    longest[63] = 0;
    assert_int_equal(plait_arena_publish(arena, longest, memory), 0);
    assert_int_equal(plait_arena_lookup(arena, longest, &found), 0);
    assert_ptr_equal(found, memory);
}

static void name_for_an_address_elsewhere_is_refused(void **state)
{
    char *base = (char *)arena->base;
    int here = 0;

    assert_int_equal(plait_arena_publish(arena, "a", &here), EINVAL);
    assert_int_equal(plait_arena_publish(arena, "a", NULL), EINVAL);
    assert_int_equal(plait_arena_publish(arena, "a", base - 1), EINVAL);
    assert_int_equal(plait_arena_publish(arena, "a", base + (16 << 20)), EINVAL);
    assert_int_equal(used(), 0);
}

static void name_records_are_used_again(void **state)
{
    void *memory = alloc(1);
    size_t once = 0;
    char name[20];

    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(plait_arena_publish(arena, name, memory), 0);
        assert_int_equal(plait_arena_unpublish(arena, name), 0);
        if (i == 0)
            once = used();
    }
    assert_int_equal(used(), once);
}

static void name_in_a_full_arena_is_refused(void **state)
{
    void *memory = alloc(1), *found;
    char name[20];
    int err = 0, count = 0;

    for (size_t size = 8 << 20; size >= 16; size /= 2) /* leave nothing but small change */
        while (plait_arena_alloc(arena, size, &found) == 0)
            ;
    while (err == 0 && count < 10000) {
        snprintf(name, sizeof name, "n%d", count++);
        err = plait_arena_publish(arena, name, memory);
    }
    assert_int_equal(err, ENOSPC);
    assert_int_equal(plait_arena_lookup(arena, name, &found), ENOENT);
}

static void ref_names_a_place_in_plain_bytes(void **state)
{
    char *memory = alloc(100);
    plait_ref_t ref;
    void *found = NULL;
    int here = 0;

    assert_int_equal(plait_ref_of(memory + 7, &ref), 0);
    assert_int_equal(plait_ref_open(ref, &found), 0);
    assert_ptr_equal(found, memory + 7);
    assert_int_equal(plait_ref_of(&here, &ref), EINVAL);
    assert_int_equal(plait_ref_of(NULL, &ref), EINVAL);
}

static void ref_to_nothing_is_refused(void **state)
{
    plait_ref_t good;
    void *found = &good;

    assert_int_equal(plait_ref_of(alloc(1), &good), 0);
    assert_int_equal(plait_ref_open((plait_ref_t){ 0, 0 }, &found), EINVAL);
    assert_int_equal(plait_ref_open((plait_ref_t){ good.arena, 16 << 20 }, &found), EINVAL);
    assert_int_equal(plait_ref_open((plait_ref_t){ good.arena, UINT64_MAX }, &found), EINVAL);
    assert_int_equal(plait_ref_open((plait_ref_t){ good.arena, 0 }, &found), EINVAL);
    assert_int_equal(plait_ref_open((plait_ref_t){ 4711, 100 }, &found), ENOENT);
    assert_int_equal(plait_ref_open((plait_ref_t){ good.arena ^ 1, 100 }, &found), ENOENT);
    assert_int_equal(plait_ref_open((plait_ref_t){ good.arena ^ ((uint64_t)1 << 62), 100 }, &found), ENOENT);
    assert_ptr_equal(found, &good);
}

static void ref_to_a_closed_arena_is_refused(void **state)
{
    plait_arena_t *other;
    plait_ref_t ref;
    void *memory;

    assert_int_equal(plait_arena_new(&other, NULL), 0);
    assert_int_equal(plait_arena_alloc(other, 1, &memory), 0);
    assert_int_equal(plait_ref_of(memory, &ref), 0);
    assert_int_equal(plait_arena_free(other), 0);
    assert_int_equal(plait_ref_open(ref, &memory), ENOENT);
}

struct letter {
    plait_sem_t sent;
    plait_ref_t ref;
};

static int open_letter(void *arg)
{
    struct letter *letter = arg;
    int *number;

    if (plait_sem_acquire(&letter->sent, 1, plait_after(CHILD_SECONDS)))
        return 1;
    if (plait_ref_open(letter->ref, (void **)&number))
        return 2;
    if (*number != 17)
        return 3;
    *number = 18;
    return plait_arena_free(plait_arena_of(number)) ? 4 : 0;
}

static void ref_into_an_arena_made_later_is_opened_by_an_earlier_child(void **state)
{
    struct letter *letter = alloc(sizeof *letter);
    plait_arena_t *later;
    int *number;
    pid_t child;

    assert_int_equal(plait_sem_init(&letter->sent, 0, PLAIT_SHARED), 0);
    child = child_start(open_letter, letter);
    assert_int_equal(plait_arena_new(&later, NULL), 0);
    assert_int_equal(plait_arena_alloc(later, sizeof *number, (void **)&number), 0);
    *number = 17;
    assert_int_equal(plait_ref_of(number, &letter->ref), 0);
    assert_int_equal(plait_sem_release(&letter->sent, 1), 0);
    assert_int_equal(child_end(child), 0);
    assert_int_equal(*number, 18);
    assert_int_equal(plait_arena_free(later), 0);
}

#define WITH_ARENA(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_without_options_has_the_defaults),
        cmocka_unit_test(arena_limit_is_rounded_up_to_pages),
        cmocka_unit_test(arena_with_absurd_options_is_refused),
        cmocka_unit_test(arena_options_of_another_size_are_understood),
        cmocka_unit_test(arena_free_of_null_is_allowed),
        cmocka_unit_test(arena_made_and_dropped_leaves_nothing_open_or_mapped),
        WITH_ARENA(arena_anonymous_is_shared_over_fork_at_once),
        WITH_ARENA(arena_block_of_a_child_outlives_it),
        WITH_ARENA(arena_is_shared_with_grandchildren),
        cmocka_unit_test(arena_in_own_memory_is_opened_again_there),
        cmocka_unit_test(arena_in_own_memory_is_made_by_one_of_several),
        cmocka_unit_test(arena_in_own_memory_whose_maker_was_killed_is_made_by_the_next),
        cmocka_unit_test(arena_in_own_memory_is_refused_when_it_does_not_fit),
        WITH_ARENA(alloc_of_nothing_is_refused),
        WITH_ARENA(alloc_beyond_the_limit_is_refused),
        WITH_ARENA(alloc_gives_zeroed_aligned_memory_of_its_own),
        WITH_ARENA(alloc_takes_what_was_given_back),
        WITH_ARENA(alloc_at_the_limit_answers_ENOSPC_and_goes_on_after_dealloc),
        WITH_ARENA(dealloc_of_a_large_block_gives_its_pages_back),
        WITH_ARENA(dealloc_of_null_is_allowed),
        WITH_ARENA(dealloc_of_what_is_no_block_is_refused),
        WITH_ARENA(usage_counts_blocks),
        WITH_ARENA(arena_of_knows_its_addresses),
        WITH_ARENA(name_published_is_found_until_taken_away),
        WITH_ARENA(name_that_is_bad_is_refused),
        WITH_ARENA(name_for_an_address_elsewhere_is_refused),
        WITH_ARENA(name_records_are_used_again),
        WITH_ARENA(name_in_a_full_arena_is_refused),
        WITH_ARENA(ref_names_a_place_in_plain_bytes),
        WITH_ARENA(ref_to_nothing_is_refused),
        WITH_ARENA(ref_to_a_closed_arena_is_refused),
        WITH_ARENA(ref_into_an_arena_made_later_is_opened_by_an_earlier_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
