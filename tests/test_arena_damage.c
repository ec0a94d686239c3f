/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: foreign bytes are refused, injected damage is found, nothing crashes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <plait.h>

#include "arena/arena.h"
#include "arena/stock.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { SIZE = 1 << 20 };

static char name[64], file[80];
static unsigned char image[SIZE]; /* a sound arena, as bytes */
static plait_arena_t *arena;

static int open_named(plait_arena_t **out, enum plait_open how)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .name = name, .limit = SIZE, .participants = 16,
                                                            .open = how });
}

static void lay_file(const void *bytes, size_t count, off_t length)
{
    int fd = open(file, O_CREAT | O_TRUNC | O_RDWR, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), count);
    assert_int_equal(ftruncate(fd, length), 0);
    close(fd);
}

/* What every way of opening makes of the file: the expected answer, and the file as it was. */
static void assert_file_is_refused(void)
{
    static const enum plait_open ways[] = { PLAIT_OPEN_OR_CREATE, PLAIT_CREATE, PLAIT_OPEN };
    struct stat before, after;

    assert_int_equal(stat(file, &before), 0);
    for (size_t i = 0; i < 3; i++) {
        plait_arena_t *a = NULL;

        assert_int_equal(open_named(&a, ways[i]), EBADMSG);
        assert_null(a);
    }
    assert_int_equal(stat(file, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_ino, after.st_ino);
}

static int make_image(void **state)
{
    plait_arena_t *a;
    void *memory;

    snprintf(name, sizeof name, "damage-%d", (int)getpid());
    snprintf(file, sizeof file, "/dev/shm/plait.%s", name);
    if (open_named(&a, PLAIT_CREATE) || plait_arena_alloc(a, 1000, &memory) || plait_arena_publish(a, "x", memory))
        return 1;
    memcpy(image, a->base, SIZE);
    return plait_arena_free(a);
}

static int remove_file(void **state)
{
    unlink(file);
    return 0;
}

static void text_file_is_refused(void **state)
{
    char text[5000];

    memset(text, 'a', sizeof text);
    for (size_t size = 1; size < sizeof text; size = size * 3 + 1) {
        lay_file(text, size, (off_t)size);
        assert_file_is_refused();
    }
}

static void arena_cut_short_is_refused(void **state)
{
    static const size_t lengths[] = { 8, 9, 100, sizeof(struct plait__arena_header) - 1,
                                      sizeof(struct plait__arena_header), 4096, SIZE / 2, SIZE - 4096, SIZE - 1 };

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        lay_file(image, lengths[i], (off_t)lengths[i]);
        assert_file_is_refused();
    }
    lay_file(image, SIZE, SIZE + 4096);
    assert_file_is_refused();
}

/* Documented: of what nobody uses, only a file without content is taken for one whose maker was killed. */
static void file_without_content_is_made_an_arena(void **state)
{
    static const off_t lengths[] = { 0, SIZE, SIZE * 2 };
    plait_arena_t *a;

    for (size_t i = 0; i < 3; i++) {
        lay_file("", 0, lengths[i]);
        assert_int_equal(open_named(&a, PLAIT_OPEN), ENOENT);
        lay_file("", 0, lengths[i]);
        assert_int_equal(open_named(&a, PLAIT_CREATE), 0);
        assert_int_equal(plait_arena_check(a, NULL, 0), 0);
        assert_int_equal(plait_arena_free(a), 0);
    }
}

static void sound_leftover_is_made_afresh(void **state)
{
    plait_arena_t *a;
    void *found;

    lay_file(image, SIZE, SIZE);
    assert_int_equal(open_named(&a, PLAIT_OPEN_OR_CREATE), 0);
    assert_int_equal(plait_arena_lookup(a, "x", &found), ENOENT);
    assert_int_equal(plait_arena_free(a), 0);
}

/* Every bit of the constants, in memory that is opened as an arena. */
static void any_flipped_bit_of_the_constants_is_refused(void **state)
{
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts opts = { .memory = memory, .memory_size = SIZE };
    size_t bits = 8 * offsetof(struct plait__arena_header, lock);
    plait_arena_t *a;

    assert_ptr_not_equal(memory, MAP_FAILED);
    memcpy(memory, image, SIZE);
    assert_int_equal(plait_arena_new(&a, &opts), 0);
    assert_int_equal(plait_arena_free(a), 0);
    for (size_t bit = 0; bit < bits; bit++) {
        memory[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_equal(plait_arena_new(&a, &opts), EBADMSG);
        memory[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    munmap(memory, SIZE);
}

/* The rest of the header may hold anything: opening, checking and allocating answer, whatever they answer. */
static int survive_flipped_bits(void *unused)
{
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts opts = { .memory = memory, .memory_size = SIZE };
    size_t first = offsetof(struct plait__arena_header, reserved), last = sizeof(struct plait__arena_header);

    for (size_t bit = 8 * first; bit < 8 * last; bit += 3) {
        plait_arena_t *a;
        void *block = NULL;

        memcpy(memory, image, SIZE);
        memory[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (plait_arena_new(&a, &opts))
            continue;
        plait_arena_check(a, NULL, 0);
        for (size_t size = 1; size < 100000; size = size * 2 + 1)
            if (plait_arena_alloc(a, size, &block) == 0)
                plait_arena_dealloc(a, block);
        plait_arena_lookup(a, "x", &block);
        plait_arena_free(a);
        memset(memory, 0, sizeof(struct plait__arena_header));
    }
    return 0;
}

static void flipped_bits_elsewhere_in_the_header_do_not_crash(void **state)
{
    assert_int_equal(child_run(survive_flipped_bits, NULL), 0);
}

/* A newer version, rightly made: a checksum that is right does not make it ours. */
static uint64_t checksum_of(const struct plait__arena_header *h)
{
    const unsigned char *bytes = (const unsigned char *)&h->version;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < offsetof(struct plait__arena_header, checksum) - offsetof(struct plait__arena_header, version);
         i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static void arena_made_otherwise_is_refused(void **state)
{
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts opts = { .memory = memory, .memory_size = SIZE };
    struct plait__arena_header *h = (void *)memory;
    plait_arena_t *a;

    for (int i = 0; i < 6; i++) {
        memcpy(memory, image, SIZE);
        switch (i) {
        case 0: h->version++; break;
        case 1: h->layout = h->layout == -28 ? -32 : -28; break;
        case 2: h->flags ^= PLAIT__ARENA_NO_LISTS; break;
        case 3: h->pid_namespace++; break;
        case 4: h->limit += 4096; break;
        default: h->participants = 32769; break;
        }
        h->checksum = checksum_of(h);
        assert_int_equal(plait_arena_new(&a, &opts), EBADMSG);
    }
    munmap(memory, SIZE);
}

static void own_memory_with_something_in_it_is_refused(void **state)
{
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct plait_arena_opts opts = { .memory = memory, .memory_size = SIZE };
    plait_arena_t *a;

    memory[100] = 1;
    assert_int_equal(plait_arena_new(&a, &opts), EBADMSG);
    memory[100] = 0;
    memset(memory + sizeof(struct plait__arena_header), 0xee, SIZE - sizeof(struct plait__arena_header));
    assert_int_equal(plait_arena_new(&a, &opts), 0); /* only its start has to be zero */
    assert_int_equal(plait_arena_check(a, NULL, 0), 0);
    assert_int_equal(plait_arena_free(a), 0);
    munmap(memory, SIZE);
}

/* ---- The checker ---- */

static struct plait__block *header_of(void *memory)
{
    return (struct plait__block *)memory - 1;
}

static void assert_fault(const char *words)
{
    char text[200] = "";

    assert_int_equal(plait_arena_check(arena, text, sizeof text), EBADMSG);
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    assert_int_equal(plait_arena_check(arena, NULL, 0), EBADMSG);
    assert_int_equal(plait_arena_check(arena, text, 1), EBADMSG);
    assert_int_equal(text[0], 0);
}

static void assert_sound(void)
{
    char text[200] = "x";

    assert_int_equal(plait_arena_check(arena, text, sizeof text), 0);
    assert_string_equal(text, "");
}

#define WITH_DAMAGE(lvalue, value, words) \
    do { \
        __typeof__(lvalue) good = (lvalue); \
        assert_sound(); \
        (lvalue) = (__typeof__(lvalue))(value); \
        assert_fault(words); \
        (lvalue) = good; \
        assert_sound(); \
    } while (0)

static void check_names_the_fault(void **state)
{
    struct plait__arena_header *h;
    struct plait__name_record *record;
    struct plait__stock *stock;
    struct plait__block *last;
    void *in_use, *freed[3], *put_by[3];

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = SIZE, .participants = 16 }), 0);
    h = arena->base;
    assert_int_equal(plait_arena_alloc(arena, 700, &in_use), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_arena_alloc(arena, 20000, &freed[i]), 0);
        assert_int_equal(plait_arena_alloc(arena, 700, &put_by[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_arena_dealloc(arena, freed[i]), 0);
        assert_int_equal(plait_arena_dealloc(arena, put_by[i]), 0);
    }
    assert_int_equal(plait_arena_publish(arena, "x", in_use), 0);
    record = plait__at(h, h->names + sizeof(struct plait__block));
    stock = plait__stock_of(h, plait__slot_at(h, 0));
    assert_non_null(stock);
    last = header_of(put_by[2]);

    WITH_DAMAGE(h->version, PLAIT__ARENA_VERSION + 1, "damaged header");
    WITH_DAMAGE(h->checksum, 0, "damaged header");
    WITH_DAMAGE(h->top, h->top + 64, "block");
    WITH_DAMAGE(h->top, h->limit + 64, "damaged header");
    WITH_DAMAGE(h->out, 0, "in use");
    WITH_DAMAGE(header_of(in_use)->check, 0, "damaged header");
    WITH_DAMAGE(header_of(in_use)->class, 3, "damaged header");
    WITH_DAMAGE(header_of(in_use)->state, 0, "damaged header");
    WITH_DAMAGE(header_of(freed[1])->state, PLAIT__BLOCK_USED, "in use");
    WITH_DAMAGE(header_of(freed[2])->next_free, 0, "are in the lists");
    WITH_DAMAGE(header_of(freed[0])->next_free, plait__offset_in(h, header_of(freed[2])), "circle");
    WITH_DAMAGE(header_of(freed[0])->next_free, 4711, "no free block");
    WITH_DAMAGE(header_of(freed[0])->next_free, UINT64_MAX - 15, "no free block");
    WITH_DAMAGE(last->state, PLAIT__BLOCK_USED, "stock of participant 0");
    WITH_DAMAGE(last->owner, 1, "stock of participant 0");
    WITH_DAMAGE(last->next_free, plait__offset_in(h, last), "circle");
    WITH_DAMAGE(last->next_free, 4711, "no free block of its");
    WITH_DAMAGE(last->next_free, 0, "bytes, it says");
    WITH_DAMAGE(stock->bytes, 0, "bytes, it says");
    WITH_DAMAGE(stock->number, 1, "its stock is none");
    WITH_DAMAGE(plait__slot_at(h, 0)->row.stock, 4711, "its stock is none");
    WITH_DAMAGE(header_of(stock)->state, PLAIT__BLOCK_USED, "in use");
    WITH_DAMAGE(h->names, 4711, "name record");
    WITH_DAMAGE(record->next, plait__offset_in(h, header_of(record)), "circle");
    WITH_DAMAGE(record->target, (uint64_t)SIZE, "name record");
    WITH_DAMAGE(record->name[PLAIT__ARENA_NAME_SIZE - 1], 'x', "name record");
    WITH_DAMAGE(plait__slot_at(h, 0)->life.state, 0, "participant 0");
    WITH_DAMAGE(plait__slot_at(h, 0)->row.holds[2].name, (uint64_t)SIZE, "participant 0");
    WITH_DAMAGE(plait__slot_at(h, 0)->row.used, PLAIT__HOLDS_IN_ROW + 1, "participant 0");
    WITH_DAMAGE(plait__slot_at(h, 0)->row.more, 48, "participant 0");
    assert_int_equal(plait_arena_free(arena), 0);
}

static void names_that_lead_nowhere_are_damage(void **state)
{
    struct plait__name_record *record;
    struct plait__arena_header *h;
    uint64_t wrong[3];
    void *memory, *found;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = SIZE, .participants = 16 }), 0);
    h = arena->base;
    assert_int_equal(plait_arena_alloc(arena, 700, &memory), 0);
    assert_int_equal(plait_arena_publish(arena, "x", memory), 0);
    record = plait__at(h, h->names + sizeof(struct plait__block));
    wrong[0] = h->names; /* a circle */
    wrong[1] = 4711;
    wrong[2] = UINT64_MAX - 15;
    for (int i = 0; i < 3; i++) {
        record->next = wrong[i];
        assert_int_equal(plait_arena_lookup(arena, "y", &found), EBADMSG);
        assert_int_equal(plait_arena_unpublish(arena, "y"), EBADMSG);
        assert_int_equal(plait_arena_publish(arena, "y", memory), EBADMSG);
        assert_int_equal(plait_arena_lookup(arena, "x", &found), 0);
        assert_ptr_equal(found, memory);
    }
    assert_int_equal(plait_arena_free(arena), 0);
}

/* ---- Objects ---- */

static plait_lock_t *new_lock(void)
{
    plait_lock_t *lock;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = SIZE, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    return lock;
}

static void name_holder(plait_lock_t *lock, uint32_t tid)
{
    *(uint32_t *)(uintptr_t)plait__robust_word(lock) = tid;
}

/* Documented: who takes no part in the arena holds no lock there, be there a thread of that number or not. */
static void lock_held_by_nobody_is_a_dead_holders(void **state)
{
    static const uint32_t nobody[] = { 0x3fffffff, 1 };
    plait_lock_t *lock = new_lock();
    void *block;

    for (int i = 0; i < 2; i++) {
        name_holder(lock, nobody[i]);
        assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(lock), 0);
        assert_int_equal(plait_lock_release(lock), 0);
        name_holder(&arena->base->lock, nobody[i]);
        assert_int_equal(plait_arena_alloc(arena, 10, &block), 0);
    }
    assert_int_equal(plait_arena_free(arena), 0);
}

/* What it says of its neighbours in the list must not be followed. */
static void lock_that_claims_to_be_the_callers_is_not(void **state)
{
    plait_lock_t *lock = new_lock();

    name_holder(lock, plait__robust_tid());
    lock->prev = lock->next = (void *)8;
    assert_int_equal(plait_lock_release(lock), EPERM);
    assert_int_equal(plait_lock_acquire(lock, plait_after(60)), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(lock), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void shared_lock_that_looks_private_is_damage(void **state)
{
    plait_lock_t *lock = new_lock();

    lock->mode = 0;
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), EBADMSG);
    lock->mode = PLAIT_SHARED;
    lock->arena_offset += 8;
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void damaged_distance_to_a_parent_is_not_followed(void **state)
{
    plait_cancel_t *tokens;

    new_lock();
    assert_int_equal(plait_arena_alloc(arena, 2 * sizeof *tokens, (void **)&tokens), 0);
    assert_int_equal(plait_cancel_init(&tokens[0], PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init_child(&tokens[1], &tokens[0], PLAIT_SHARED), 0);
    tokens[1].parent = (int64_t)1 << 46;
    assert_false(plait_cancel_is_set(&tokens[1]));
    assert_int_equal(plait_cancel_wait(&tokens[1], PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_arena_free(arena), 0);
}

#define WITH_FILE(f) cmocka_unit_test_teardown(f, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(text_file_is_refused),
        WITH_FILE(arena_cut_short_is_refused),
        WITH_FILE(file_without_content_is_made_an_arena),
        WITH_FILE(sound_leftover_is_made_afresh),
        cmocka_unit_test(any_flipped_bit_of_the_constants_is_refused),
        cmocka_unit_test(flipped_bits_elsewhere_in_the_header_do_not_crash),
        cmocka_unit_test(arena_made_otherwise_is_refused),
        cmocka_unit_test(own_memory_with_something_in_it_is_refused),
        cmocka_unit_test(check_names_the_fault),
        cmocka_unit_test(names_that_lead_nowhere_are_damage),
        cmocka_unit_test(lock_held_by_nobody_is_a_dead_holders),
        cmocka_unit_test(lock_that_claims_to_be_the_callers_is_not),
        cmocka_unit_test(shared_lock_that_looks_private_is_damage),
        cmocka_unit_test(damaged_distance_to_a_parent_is_not_followed),
    };
    return cmocka_run_group_tests(tests, make_image, NULL);
}
