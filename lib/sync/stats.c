/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Hooked calls find figures by the object's address, in a table that is read without a lock: open addressing, keys that
 * are never taken out as long as anything is watched. Who changes it holds the mutex. An entry whose figures are NULL is not in use,
 * and is given to another object when one comes by; so a reader looks at the key again after it has read the figures (E1).
 *
 * Private figures are pieces of a slab, and never become anything else: who still counts in figures that were given to
 * another object spoils a number, not memory. Shared ones are a block in the arena, found by a name with the object's
 * offset in it. The process holds the arena as long as it watches anything there, so they stay mapped.
 *
 * Counts are relaxed additions: nobody concludes anything from their order. Killed between two of them, a process leaves
 * figures that differ by one call.
 *
 * E1: an entry's key and figures are stored with a release, figures first when it is given up, the key first when it is
 * used; a reader acquires the key, the figures, and compares the key once more.
 */
#include "base/races.h"
#include "sync/stats.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/slab.h"
#include "sync/hooked.h"

enum { ENTRIES = 4096, ENTRIES_MAX = 3072 };

#define NAME_PREFIX "plait.figures."

struct plait__figures {
    void *link;                       /* the slab's */
    uint64_t object;                  /* address, or offset in the arena; const while in use */
    char name[PLAIT_STATS_NAME_SIZE]; /* the same */
    struct plait_stats counts;        /* atomic, each for itself */
};

struct entry {
    const void *object;             /* E1; NULL: never used */
    struct plait__figures *figures; /* E1; NULL: not in use */
    plait_arena_t *arena;           /* guarded by mutex: of a shared object, held */
};

static struct entry entries[ENTRIES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned keys, watched; /* guarded by mutex: entries ever used; in use */
static struct plait__slab slab = PLAIT__SLAB(struct plait__figures); /* guarded by mutex */
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

/* ---- Table ------------------------------------------------------------------------------ */

static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }
static void prepare(void) { pthread_atfork(lock, unlock, unlock); }

static unsigned first_entry(const void *object)
{
    return (unsigned)((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u >> 52) % ENTRIES;
}

/* The object's entry; NULL: it has none. Its figures may be NULL. */
static struct entry *find(const void *object)
{
    for (unsigned i = 0, at = first_entry(object); i < ENTRIES; i++, at = (at + 1) % ENTRIES) {
        const void *key = loadptr_acquire(&entries[at].object); /* E1 */

        if (key == object)
            return &entries[at];
        if (!key)
            return NULL;
    }
    return NULL;
}

/* An entry for a new object; with the mutex held. NULL: too many. */
static struct entry *claim(const void *object)
{
    struct entry *found = find(object);

    for (unsigned i = 0, at = first_entry(object); !found && i < ENTRIES; i++, at = (at + 1) % ENTRIES)
        if (!entries[at].object || !entries[at].figures)
            found = &entries[at];
    if (!found || (!found->object && keys >= ENTRIES_MAX))
        return NULL;
    keys += found->object == NULL;
    storeptr_release(&found->object, object); /* E1 */
    return found;
}

struct plait__figures *plait__figures_of(const void *object)
{
    struct plait__figures *figures;
    struct entry *entry;

    if (!(load_relaxed(&plait_hooks) & PLAIT__HOOK_STATS))
        return NULL;
    entry = find(object);
    if (!entry)
        return NULL;
    figures = loadptr_acquire(&entry->figures);                           /* E1 */
    return loadptr_acquire(&entry->object) == object ? figures : NULL; /* E1 */
}

static void use(struct entry *entry, struct plait__figures *figures, plait_arena_t *arena)
{
    entry->arena = arena;
    storeptr_release(&entry->figures, figures); /* E1 */
    if (watched++ == 0)
        __atomic_fetch_or(&plait_hooks, PLAIT__HOOK_STATS, __ATOMIC_RELAXED);
}

static void give_up(struct entry *entry)
{
    storeptr_release(&entry->figures, NULL); /* E1 */
    entry->arena = NULL;
    if (--watched > 0)
        return;
    __atomic_fetch_and(&plait_hooks, ~(uint32_t)PLAIT__HOOK_STATS, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < ENTRIES; i++) /* who is late finds nothing */
        storeptr_release(&entries[i].object, NULL);
    keys = 0;
}

/* ---- Figures ---------------------------------------------------------------------------- */

static void fill(struct plait__figures *figures, uint64_t object, const char *name)
{
    memset(figures, 0, sizeof *figures);
    figures->object = object;
    if (name)
        strncpy(figures->name, name, sizeof figures->name - 1);
}

static void name_of(const plait_arena_t *arena, const void *object, char *name, size_t size)
{
    snprintf(name, size, NAME_PREFIX "%llx", (unsigned long long)plait__offset_in(arena->base, object));
}

static int find_shared(plait_arena_t *arena, const void *object, struct plait__figures **figures_out)
{
    char name[PLAIT__ARENA_NAME_SIZE];
    void *found;
    int err;

    name_of(arena, object, name, sizeof name);
    err = plait_arena_lookup(arena, name, &found);
    if (err)
        return err;
    *figures_out = found;
    if (!plait__arena_block_is_used(arena->base, plait__offset_in(arena->base, found), sizeof **figures_out) ||
        (*figures_out)->object != plait__offset_in(arena->base, object))
        return EBADMSG;
    return 0;
}

static int make_shared(plait_arena_t *arena, const void *object, const char *label, struct plait__figures **figures_out)
{
    char name[PLAIT__ARENA_NAME_SIZE];
    void *made;
    int err = plait_arena_alloc(arena, sizeof **figures_out, &made);

    if (err)
        return err;
    fill(made, plait__offset_in(arena->base, object), label);
    name_of(arena, object, name, sizeof name);
    err = plait_arena_publish(arena, name, made);
    if (err) {
        plait_arena_dealloc(arena, made);
        return err == EEXIST ? find_shared(arena, object, figures_out) : err;
    }
    *figures_out = made;
    return 0;
}

static int watch_shared(plait_arena_t *arena, struct entry *entry, const void *object, const char *name)
{
    struct plait__figures *figures;
    int err = find_shared(arena, object, &figures);

    if (err == ENOENT)
        err = make_shared(arena, object, name, &figures);
    if (err)
        return err;
    plait__arena_hold(arena);
    use(entry, figures, arena);
    return 0;
}

static int watch_private(struct entry *entry, const void *object, const char *name)
{
    struct plait__figures *figures = plait__slab_take(&slab);

    if (!figures)
        return ENOMEM;
    fill(figures, (uintptr_t)object, name);
    use(entry, figures, NULL);
    return 0;
}

int plait_stats_watch(void *object, const char *name)
{
    plait_arena_t *arena;
    struct entry *entry;
    int err;

    if (!object)
        return EINVAL;
    plait__races_once(&prepared, prepare);
    arena = plait_arena_of(object);
    lock();
    entry = claim(object);
    if (!entry)
        err = ENOMEM;
    else if (entry->figures)
        err = EBUSY;
    else
        err = arena ? watch_shared(arena, entry, object, name) : watch_private(entry, object, name);
    unlock();
    return err;
}

int plait_stats_unwatch(void *object)
{
    plait_arena_t *arena = NULL;
    struct plait__figures *figures = NULL;
    struct entry *entry;

    lock();
    entry = find(object);
    if (entry)
        figures = entry->figures;
    if (figures) {
        arena = entry->arena;
        give_up(entry);
        if (!arena)
            plait__slab_give(&slab, figures);
    }
    unlock();
    if (arena)
        plait_arena_free(arena);
    return figures ? 0 : ENOENT;
}

static void raise(plait_time_t *longest, plait_time_t waited)
{
    uint64_t v = load64_relaxed((uint64_t *)longest);

    while ((uint64_t)waited > v && !cas64_relaxed((uint64_t *)longest, &v, (uint64_t)waited))
        ;
}

void plait__figures_count(struct plait__figures *figures, int err, bool contended, plait_time_t waited)
{
    struct plait_stats *s = &figures->counts;

    if (err == 0 || err == EOWNERDEAD) {
        add64_relaxed(&s->acquired, 1);
        if (contended)
            add64_relaxed(&s->contended, 1);
    } else {
        add64_relaxed(&s->given_up, 1);
    }
    if (waited) {
        add64_relaxed((uint64_t *)&s->waited, (uint64_t)waited);
        raise(&s->longest, waited);
    }
}

static void copy(const struct plait_stats *s, struct plait_stats *to)
{
    memset(to, 0, sizeof *to);
    to->acquired = load64_relaxed(&s->acquired);
    to->contended = load64_relaxed(&s->contended);
    to->given_up = load64_relaxed(&s->given_up);
    to->waited = (plait_time_t)load64_relaxed((const uint64_t *)&s->waited);
    to->longest = (plait_time_t)load64_relaxed((const uint64_t *)&s->longest);
}

/* Of an object, watched here or found in its arena. */
static int find_any(const void *object, struct plait__figures **figures_out)
{
    plait_arena_t *arena = plait_arena_of(object);

    if (arena)
        return find_shared(arena, object, figures_out);
    *figures_out = plait__figures_of(object);
    return *figures_out ? 0 : ENOENT;
}

int plait_stats_read(const void *object, struct plait_stats *stats_out)
{
    struct plait__figures *figures;
    int err = find_any(object, &figures);

    if (err == 0)
        copy(&figures->counts, stats_out);
    return err;
}

int plait_stats_reset(const void *object)
{
    struct plait__figures *figures;
    int err = find_any(object, &figures);

    if (err)
        return err;
    store64_relaxed(&figures->counts.acquired, 0);
    store64_relaxed(&figures->counts.contended, 0);
    store64_relaxed(&figures->counts.given_up, 0);
    store64_relaxed((uint64_t *)&figures->counts.waited, 0);
    store64_relaxed((uint64_t *)&figures->counts.longest, 0);
    return 0;
}

static void tell(const struct plait__figures *figures, void *object, struct plait_stats_entry *entry_out)
{
    memset(entry_out, 0, sizeof *entry_out);
    entry_out->object = object;
    memcpy(entry_out->name, figures->name, sizeof entry_out->name - 1);
    copy(&figures->counts, &entry_out->stats);
}

static int next_private(size_t *cursor, struct plait_stats_entry *entry_out)
{
    int err = ENOENT;

    lock();
    for (; err && *cursor < ENTRIES; ++*cursor) {
        const struct entry *entry = &entries[*cursor];

        if (entry->figures && !entry->arena) {
            tell(entry->figures, (void *)(uintptr_t)entry->figures->object, entry_out);
            err = 0;
        }
    }
    unlock();
    return err;
}

int plait_stats_next(plait_arena_t *arena, size_t *cursor, struct plait_stats_entry *entry_out)
{
    void *found;
    int err;

    if (!arena)
        return next_private(cursor, entry_out);
    err = plait__arena_name_next(arena, NAME_PREFIX, cursor, sizeof(struct plait__figures), &found);
    if (err)
        return err;
    const struct plait__figures *figures = found;
    if (!plait__arena_block_is_used(arena->base, plait__offset_in(arena->base, found), sizeof *figures) ||
        figures->object >= arena->limit)
        return EBADMSG;
    tell(figures, plait__at(arena->base, figures->object), entry_out);
    return 0;
}
