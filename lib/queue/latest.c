/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Four slots, each with a value and the number of the version that it is, or is being written as. One word says which is the latest:
 *
 *     current   bits 0-1: slot; 2-63: version; 0: nothing written yet
 *     asked     a reader who was too slow asks writers to leave one version alone
 *     kept      a former `current`, whose slot they do leave alone; 0: none
 *
 * A writer, with the lock: takes the slot after the current one (or after that, if it is the kept one), stores the new version
 * in it, then the value, then `current`. That last store is the write.
 *
 * A reader copies the value of the current slot and looks at the slot's version again: if it is another, a writer has come
 * round to it meanwhile, and the copy may be torn. That takes at least two more writes after the one that was read (three with nothing
 * kept). Who was overtaken twice asks; the next write begins with making the version that is current then the kept one,
 * and no writer touches its slot until another reader asks. So the reader, who finds that a kept version is as new as the first that he
 * saw, copies it however slow he is: to overtake what was current after he had asked, there must have been such a write; what he
 * read while asking is his last try in vain. If a kept version is new enough without his asking, he takes it; so readers disturb one
 * another only if one has come later. A version is kept until another one is: all that is lost by one that nobody wants any more is the
 * use of a slot.
 *
 * Killed at any instruction: a writer leaves a slot that is not current half written, and its version there is newer than any
 * that is read; the next writer takes the same slot, or the one behind it. Nothing is to be repaired: what was asked for is kept before
 * the question is taken off. A reader leaves a question, which the next writer answers.
 *
 * Order. Values are copied word by word by atomic operations, because a reader may copy what is being written; it finds out afterwards.
 * E1 value: `current` is stored with release, loaded with acquire: who finds a version has its value, its slot's version, and
 *    what the writer did before.
 * E2 overwriting: the slot's version is stored before the words, each of which is stored with release; a reader loads
 *    each with acquire, and then the slot's version: if it got any word of a later version, it finds a later version. And who finds
 *    a later version there finds a later `current`, or the memory is damaged. (An order on each word costs nothing on x86, and
 *    saves two fences: base/words.h.)
 * E3 keeping: `kept` is stored with release, by writers alone, before any slot is touched; who acquires it finds what it names, and who
 *    finds what it named overwritten finds another one there. Whether a question is seen by this write or by the next makes
 *    no difference.
 * E4 sleep: the store of `current`, and of `closed`, come before the release of the lock, a full barrier, and that before the
 *    look at the event count; a sleeper announces itself there and then looks at both (wait/eventcount.h). All are
 *    woken, so nobody has a wake to pass on.
 * E5 close: `closed` is set under the lock, so after the last write; who acquires it finds the last version.
 */
#include <plait/latest.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <plait/cancel.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/options.h"
#include "base/races.h"
#include "base/words.h"
#include "queue/named.h"
#include "sync/lock.h"
#include "wait/eventcount.h"
#include "wait/point.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { SLOT_BITS = 2, SLOTS = 1 << SLOT_BITS, LINE = 64, PATIENCE = 2 };
#define VALUE_SIZE_MAX ((uint64_t)1 << 30)
#define MAGIC 0x4c617374u

/*
 * What all users share, in the arena or in the heap. The slots come behind it, of `stride` bytes each: the words of the value, so that
 * they begin with a line, and in the last 8 bytes the version that is there, or is being written. Both atomic, written under lock (E2).
 */
struct body {
    uint32_t magic;      /* const; stored last; 0 once destroyed */
    uint32_t flags;      /* const: PLAIT_SHARED or 0 */
    uint64_t value_size; /* const */
    uint32_t closed;     /* atomic, set under lock (E5) */
    uint32_t asked;      /* atomic, set by readers, cleared under lock */
    uint64_t kept;       /* atomic, written under lock (E3): any value can be borne */
    uint64_t spare1[4];

    uint64_t current __attribute__((aligned(64))); /* atomic, written under lock (E1) */
    struct plait__eventcount newer;                /* who waits for a newer version sleeps here */
    uint64_t spare2[6];

    plait_lock_t lock __attribute__((aligned(64))); /* writers exclude each other */
};

/* A handle. */
struct plait_latest {
    struct body *body;    /* const */
    plait_arena_t *arena; /* const: a handle of our own; NULL: private */
    size_t value_size;    /* const: copies of the body's */
    size_t stride;        /* const: bytes from slot to slot */
};

static uint64_t version_of(uint64_t current) { return current >> SLOT_BITS; }
static uint64_t stride_for(uint64_t value_size)
{
    return (value_size + sizeof(uint64_t) + LINE - 1) / LINE * LINE;
}

static uint64_t *words_at(struct body *b, uint64_t stride, uint64_t slot)
{
    return (uint64_t *)(void *)((char *)(b + 1) + slot % SLOTS * stride);
}

static uint64_t *version_at(struct body *b, uint64_t stride, uint64_t slot)
{
    return words_at(b, stride, slot) + stride / sizeof(uint64_t) - 1;
}

static unsigned flags_of(const struct plait_latest *l) { return l->arena ? PLAIT_SHARED : 0; }

/* ---- Reading --------------------------------------------------------------------------------------------------- */

/* What to read, by one who began when `first` was current, and has been overtaken; `current` is so now. */
static uint64_t keep(const struct plait_latest *l, uint64_t first, uint64_t current)
{
    uint64_t kept = load64_acquire(&l->body->kept); /* E3 */

    if (kept >= first && kept <= current)
        return kept;
    store_relaxed(&l->body->asked, 1); /* relaxed: it carries nothing */
    return current;
}

/* Copy that version out; false: it was overwritten meanwhile. */
static inline bool copy_version(const struct plait_latest *l, void *value, uint64_t chosen)
{
    plait__words_load(value, words_at(l->body, l->stride, chosen), l->value_size); /* E2 */
    return __builtin_expect(load64_acquire(version_at(l->body, l->stride, chosen)) == version_of(chosen), 1); /* E2 */
}

/* The read that began when `first` was current was overtaken. */
static __attribute__((noinline)) int read_again(const struct plait_latest *l, void *value, uint64_t first, uint64_t *read_out)
{
    *read_out = first;
    for (unsigned overtaken = 1;; overtaken++) {
        uint64_t current = load64_acquire(&l->body->current); /* E1 */

        if (current == *read_out || load64_acquire(&l->body->kept) == *read_out) /* E2, E3: by nobody: the memory is damaged */
            return EBADMSG;
        *read_out = overtaken < PATIENCE ? current : keep(l, first, current);
        if (copy_version(l, value, *read_out))
            return 0;
    }
}

int plait_latest_read(const plait_latest_t *l, void *value, uint64_t *version_out)
{
    uint64_t current = load64_acquire(&l->body->current); /* E1 */
    int err = 0;

    if (__builtin_expect(current == 0, 0))
        err = ENOENT;
    else if (!copy_version(l, value, current))
        err = read_again(l, value, current, &current);
    if (version_out)
        *version_out = version_of(current);
    return err;
}

/* ---- Writing --------------------------------------------------------------------------------------------------- */

/* A dead writer has left nothing that would have to be repaired. */
static int lock_writers(struct plait_latest *l, plait_time_t deadline)
{
    bool sound = plait__inner_is_sound(&l->body->lock, l->arena != NULL);
    int err = sound ? plait__inner_acquire(&l->body->lock, deadline) : EBADMSG;

    return err == EOWNERDEAD ? plait_lock_consistent(&l->body->lock) : err;
}

static void unlock_writers(struct plait_latest *l)
{
    plait__inner_release(&l->body->lock);
    barrier_after_rmw(); /* E4 */
}

static void wake_all(struct plait_latest *l)
{
    struct plait__eventcount *ec = &l->body->newer;

    if (__builtin_expect(load_seqcst(&ec->word) & 1, 0))
        plait__eventcount_wake(ec, INT_MAX, flags_of(l));
}

/* A reader wants a version to be left alone: that is the current one. */
static void keep_if_asked(struct plait_latest *l, uint64_t current)
{
    if (__builtin_expect(load_relaxed(&l->body->asked), 0) && current) {
        store64_release(&l->body->kept, current); /* E3 */
        compiler_barrier();
        store_relaxed(&l->body->asked, 0);
    }
}

/* The slot to write to: not the current one, nor the one before, nor what is kept. */
static uint64_t free_slot(const struct plait_latest *l, uint64_t current)
{
    uint64_t next = (current + 1) % SLOTS, kept = load64_relaxed(&l->body->kept); /* relaxed: under lock */

    return kept && kept % SLOTS == next ? (next + 1) % SLOTS : next;
}

static void publish(struct plait_latest *l, const void *value)
{
    uint64_t current = load64_relaxed(&l->body->current); /* relaxed: under lock */
    uint64_t slot, version = version_of(current) + 1;

    keep_if_asked(l, current);
    slot = free_slot(l, current);
    store64_release(version_at(l->body, l->stride, slot), version); /* E2; release: who finds it finds that `current` has moved on as well */
    plait__words_store(words_at(l->body, l->stride, slot), value, l->value_size); /* E2 */
    store64_release(&l->body->current, version << SLOT_BITS | slot); /* E1 */
}

int plait_latest_write(plait_latest_t *l, const void *value, plait_time_t deadline)
{
    int err = lock_writers(l, deadline);

    if (err)
        return err;
    if (load_relaxed(&l->body->closed)) /* relaxed: under lock */
        err = EPIPE;
    else
        publish(l, value);
    unlock_writers(l);
    if (err == 0)
        wake_all(l);
    return err;
}

int plait_latest_close(plait_latest_t *l)
{
    plait_cancel_t *token = plait_cancel_bind(NULL); /* a token ends waits, and not the ending of them */
    int err = lock_writers(l, PLAIT_FOREVER);

    plait_cancel_bind(token);
    if (err)
        return err;
    store_release(&l->body->closed, 1); /* E5 */
    unlock_writers(l);
    plait__eventcount_broadcast(&l->body->newer, flags_of(l));
    return 0;
}

/* ---- Waiting for a newer version ------------------------------------------------------------------------------- */

static bool is_newer(const struct plait_latest *l, uint64_t seen)
{
    return version_of(load64_acquire(&l->body->current)) > seen; /* E1 */
}

/* EAGAIN: there is none. */
static int try_newer(const struct plait_latest *l, void *value, uint64_t *version)
{
    uint32_t closed = load_acquire(&l->body->closed); /* E5 */
    uint64_t got;
    int err;

    if (!is_newer(l, *version))
        return closed ? EPIPE : EAGAIN;
    err = plait_latest_read(l, value, &got);
    if (err == 0)
        *version = got;
    return err;
}

static bool spin_for_it(const struct plait_latest *l, uint64_t seen, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_TURN, deadline);

    while (plait__spin_pause(&spin))
        if (is_newer(l, seen)) {
            plait__spin_paid(&spin);
            return true;
        }
    return false;
}

static void cancelled(void *ec)
{
    plait__eventcount_cancel(ec);
}

static int sleep_for_it(struct plait_latest *l, uint32_t prepared, plait_time_t deadline, plait_time_t *slice)
{
    int err;

    pthread_cleanup_push(cancelled, &l->body->newer);
    err = plait__eventcount_wait(&l->body->newer, prepared, flags_of(l), deadline, slice);
    pthread_cleanup_pop(0);
    return err;
}

int plait_latest_read_newer(plait_latest_t *l, void *value, uint64_t *version, plait_time_t deadline)
{
    int err = try_newer(l, value, version), wait_err = 0;
    plait_time_t slice = 0;

    if (err == EAGAIN && deadline > PLAIT_NOW && spin_for_it(l, *version, deadline))
        err = try_newer(l, value, version);
    while (err == EAGAIN && wait_err == 0) {
        uint32_t prepared = plait__eventcount_prepare(&l->body->newer); /* E4 */

        err = try_newer(l, value, version);
        if (err != EAGAIN) {
            plait__eventcount_cancel(&l->body->newer);
            return err;
        }
        wait_err = sleep_for_it(l, prepared, deadline, &slice);
        err = try_newer(l, value, version);
    }
    return err == EAGAIN ? wait_err : err;
}

/* ---- Among others ------------------------------------------------------------------------ */

/* An entry has room for one address and one number; the latter serves as the second address. */
static uint64_t *version_in(const struct plait_wait_entry *entry)
{
    return (uint64_t *)(uintptr_t)entry->size;
}

static void delist(struct plait__waiting *waiting)
{
    const struct plait_latest *l = waiting->entry->object;

    plait__eventcount_cancel(&l->body->newer);
}

static int attempt(struct plait__waiting *waiting)
{
    int err = try_newer(waiting->entry->object, waiting->entry->buffer, version_in(waiting->entry));

    if (err != EAGAIN && waiting->enlisted)
        delist(waiting);
    return err;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    const struct plait_latest *l = waiting->entry->object;
    struct plait__eventcount *ec = &l->body->newer;
    uint32_t prepared = waiting->enlisted ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    *word_out = (struct plait_wait_word){ &ec->word, prepared, flags_of(l) };
    return !load_acquire(&l->body->closed) && !is_newer(l, *version_in(waiting->entry)); /* E4 */
}

struct plait_wait_entry plait_any_latest_read_newer(plait_latest_t *l, void *value, uint64_t *version)
{
    static const struct plait_waitable reading = { attempt, enlist, delist, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){
        .how = &reading, .object = l, .buffer = value, .size = (uint64_t)(uintptr_t)version
    };
}

/* ---- Figures --------------------------------------------------------------------------------------------------- */

bool plait_latest_is_closed(const plait_latest_t *l)
{
    return load_acquire(&l->body->closed);
}

uint64_t plait_latest_version(const plait_latest_t *l)
{
    return version_of(load64_acquire(&l->body->current));
}

size_t plait_latest_value_size(const plait_latest_t *l)
{
    return l->value_size;
}

/* ---- Making, opening and dropping ------------------------------------------------------------------------------ */

static uint64_t body_size(uint64_t value_size)
{
    return sizeof(struct body) + SLOTS * stride_for(value_size);
}

static int handle_on(struct body *b, plait_arena_t *arena, plait_latest_t **latest_out)
{
    struct plait_latest *l = calloc(1, sizeof *l);

    if (!l)
        return ENOMEM;
    *l = (struct plait_latest){ b, arena, b->value_size, stride_for(b->value_size) };
    if (arena)
        plait__arena_hold(arena);
    *latest_out = l;
    return 0;
}

static void drop_handle(struct plait_latest *l)
{
    plait_arena_t *arena = l->arena;

    free(l);
    plait_arena_free(arena);
}

static void free_body(struct body *b, plait_arena_t *arena)
{
    if (arena) {
        plait_arena_dealloc(arena, b);
        return;
    }
    plait__races_forget(b, body_size(b->value_size));
    free(b);
}

static int make(void *latest_out, const void *opts, void **body_out)
{
    const struct plait_latest_opts *o = opts;
    uint64_t size = body_size(o->value_size);
    void *memory;
    struct body *b;
    int err;

    if (o->arena)
        err = plait_arena_alloc(o->arena, size, &memory);
    else
        err = posix_memalign(&memory, LINE, size);
    if (err)
        return err;
    b = memory;
    memset(b, 0, sizeof *b);
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->value_size = o->value_size;
    for (unsigned i = 0; i < SLOTS; i++)
        *version_at(b, stride_for(o->value_size), i) = 0;
    err = plait_lock_init(&b->lock, b->flags);
    if (err == 0)
        err = handle_on(b, o->arena, latest_out);
    if (err)
        free_body(b, o->arena);
    else
        store_release(&b->magic, MAGIC);
    *body_out = b;
    return err;
}

/* Is there one at this address of the arena? All that would be followed is looked at; `current` and `kept` can say nothing wrong. */
static int open_at(void *latest_out, plait_arena_t *arena, void *address)
{
    struct body *b = address;
    uint64_t offset = plait__offset_in(arena->base, b);

    if (!plait__arena_block_is_used(arena->base, offset, sizeof *b) || load_acquire(&b->magic) != MAGIC ||
        b->flags != PLAIT_SHARED || b->value_size == 0 || b->value_size > VALUE_SIZE_MAX ||
        !plait__arena_block_is_used(arena->base, offset, body_size(b->value_size)))
        return EBADMSG;
    return handle_on(b, arena, latest_out);
}

static void unmake(void *latest_out)
{
    plait_latest_t **latest = latest_out;

    plait_latest_destroy(*latest);
}

static const struct plait__named named = { open_at, make, unmake };

int plait_latest_new_sized(plait_latest_t **latest_out, const struct plait_latest_opts *opts, size_t opts_size)
{
    struct plait_latest_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *latest_out = NULL;
    if (err || o.value_size == 0 || o.value_size > VALUE_SIZE_MAX || (o.name && !o.arena))
        return EINVAL;
    if (!o.name)
        return make(latest_out, &o, &body);
    err = plait__named_new(latest_out, &named, o.arena, o.name, &o);
    if (err == 0 && (*latest_out)->value_size != o.value_size) {
        plait_latest_free(*latest_out);
        err = EINVAL;
    }
    if (err)
        *latest_out = NULL;
    return err;
}

int plait_latest_free(plait_latest_t *l)
{
    if (!l)
        return 0;
    if (!l->arena)
        free_body(l->body, NULL);
    drop_handle(l);
    return 0;
}

int plait_latest_destroy(plait_latest_t *l)
{
    if (!l || !l->arena)
        return plait_latest_free(l);
    plait__arena_forget(l->arena, l->body);
    plait_latest_close(l);
    store_release(&l->body->magic, 0);
    free_body(l->body, l->arena);
    drop_handle(l);
    return 0;
}

int plait_latest_ref(const plait_latest_t *l, plait_ref_t *ref_out)
{
    return l->arena ? plait_ref_of(l->body, ref_out) : EINVAL;
}

int plait_latest_open(plait_latest_t **latest_out, plait_ref_t ref)
{
    *latest_out = NULL;
    return plait__named_open(latest_out, &named, ref);
}

int plait_latest_publish(plait_latest_t *l, const char *name)
{
    return l->arena ? plait_arena_publish(l->arena, name, l->body) : EINVAL;
}

int plait_latest_lookup(plait_latest_t **latest_out, plait_arena_t *arena, const char *name)
{
    *latest_out = NULL;
    return plait__named_lookup(latest_out, &named, arena, name);
}
