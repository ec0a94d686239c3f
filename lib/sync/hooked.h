/* SPDX-License-Identifier: MIT */
/* Hooked calls: what acquires and releases do while debug mode or figures want to see them. */
#ifndef PLAIT_SYNC_HOOKED_H
#define PLAIT_SYNC_HOOKED_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/lock.h>
#include <plait/time.h>

/* Bits of plait_hooks. */
enum {
    PLAIT__HOOK_DEBUG = 1u << 0,
    PLAIT__HOOK_STATS = 1u << 1,
    PLAIT__HOOK_VALGRIND = 1u << 2 /* always there in a build for it: for programs that did not take our flags */
};

#ifdef PLAIT_VALGRIND
enum { PLAIT__HOOKS_FIRST = PLAIT__HOOK_VALGRIND };
#else
enum { PLAIT__HOOKS_FIRST = 0 };
#endif

/* What an acquired object of that noun means to debug mode. */
enum {
    PLAIT__HELD = 1u << 0,      /* it has holders, and takes part in debug mode; without: figures only */
    PLAIT__RECURSIVE = 1u << 1, /* a holder may acquire it again */
    PLAIT__TOGETHER = 1u << 2,  /* it may have several holders at one time */
    PLAIT__CHECKED = 1u << 3    /* private ones answer EPERM and EDEADLK as well; shared ones always do */
};

/*
 * What a noun says about itself. It joins with one of these, and with a line at the top of each public function that
 * inlined code steps aside to:
 *
 *     if (__builtin_expect(plait_hooks, 0))
 *         return plait__hooked_acquire(&noun, object, object->arena_offset, 1, deadline, PLAIT__CALLER);
 *
 *     if (__builtin_expect(plait_hooks, 0))
 *         return plait__hooked_release(&noun, object, object->arena_offset, 1, PLAIT__CALLER);
 *
 * and in its init and fini, where they succeed:
 *
 *     plait__hooked_forget(object, arena_offset);
 *
 * Inside the library a call that is nobody's business (the guard of a condition, a side of a queue) goes to the functions
 * behind these, plait__lock_acquire and such.
 */
struct plait__hooked_noun {
    const char *noun;         /* in reports */
    const char *acquire_name; /* the public functions */
    const char *release_name;
    unsigned flags;
    bool (*is_busy)(const void *object, unsigned count); /* would an acquire wait, as it looks? */
    int (*acquire)(void *object, unsigned count, plait_time_t deadline);
    int (*release)(void *object, unsigned count);
    uint32_t (*owner)(const void *object); /* TID of the owner of a shared one, 0: not known; may be NULL */
};

/* Of a lock, and of an rlock. */
const struct plait__hooked_noun *plait__lock_noun(const plait_lock_t *lock);
extern const struct plait__hooked_noun plait__rlock_noun;

/* The place in the program where the running function, a public one, returns to. */
#define PLAIT__CALLER plait__caller_of(__builtin_return_address(0), __builtin_frame_address(0))

/* As the noun's acquire and release. `arena_offset`: 0, if private. */
int plait__hooked_acquire(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                          plait_time_t deadline, const void *place);
int plait__hooked_release(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                          const void *place);

/* The steps for who makes the calls itself: it will ask for the object, without a deadline; has got it; is about to give it. */
void plait__hooked_asks(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, const void *place);
void plait__hooked_got(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                       const void *place);
void plait__hooked_gives(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                         const void *place);

/* The object's life begins or ends: what is known of another at that address is stale. */
void plait__hooked_forget_slow(void *object, uint64_t arena_offset);

static inline void plait__hooked_forget(void *object, uint64_t arena_offset)
{
    if (__builtin_expect(__atomic_load_n(&plait_hooks, __ATOMIC_RELAXED), 0))
        plait__hooked_forget_slow(object, arena_offset);
}

/* ---- PLAIT__CALLER ---- */

#if !defined __OPTIMIZE__ || defined PLAIT_UNDER_TSAN || defined __SANITIZE_ADDRESS__
enum { PLAIT__HAS_FRAMES = 1 };
#else
enum { PLAIT__HAS_FRAMES = 0 };
#endif

/* The public inline functions, as they were emitted in base/inlines.c, lie together; a static program may have none. */
extern const char __start_plait_inlines[] __attribute__((weak, visibility("hidden")));
extern const char __stop_plait_inlines[] __attribute__((weak, visibility("hidden")));

/*
 * Called by the program, or by an emitted inline function. With optimisation that has jumped here, and the return address is the
 * program's; without, it has called, and it has a frame: a pair of its caller's frame and return address.
 */
static inline const void *plait__caller_of(const void *return_address, void *frame)
{
    uintptr_t start = (uintptr_t)__start_plait_inlines, end = (uintptr_t)__stop_plait_inlines;

    if (PLAIT__HAS_FRAMES && (uintptr_t)return_address - start < end - start)
        return (*(const void ***)frame)[1];
    return return_address;
}

#endif
