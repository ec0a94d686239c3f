/* SPDX-License-Identifier: MIT */
/*
 * How it works: the maker fills in the constants and their checksum, prepares the mutable part, and stores `magic` last.
 *
 * E1: `magic` is stored with a release and read with an acquire; who sees it sees a finished header.
 *
 * Verification believes nothing: it checks the constants against the checksum, their ranges, and what this machine is;
 * and of the mutable part whatever would otherwise be followed. Offsets inside blocks and lists are verified where they
 * are followed (alloc.c, names.c).
 */
#include <errno.h>
#include <sys/stat.h>

#include "arena/arena.h"
#include "base/atomic.h"

/* FNV-1a over the constants. */
static uint64_t checksum(const struct plait__arena_header *h)
{
    const unsigned char *bytes = (const unsigned char *)&h->version;
    size_t count = offsetof(struct plait__arena_header, checksum) - offsetof(struct plait__arena_header, version);
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static uint32_t lists_flag(void)
{
    return plait__robust_list_works() ? 0 : PLAIT__ARENA_NO_LISTS;
}

void plait__header_build(struct plait__arena_header *h, uint64_t limit, uint32_t participants, uint32_t flags,
                         uint64_t id)
{
    h->version = PLAIT__ARENA_VERSION;
    h->flags = flags | lists_flag();
    h->id = id;
    h->limit = limit;
    h->pid_namespace = pid_namespace();
    h->layout = plait__robust_layout();
    h->participants = participants;
    h->checksum = checksum(h);
    plait__robust_init(&h->lock, PLAIT_SHARED | plait__lock_mode(h),
                       offsetof(struct plait__arena_header, lock));
    for (uint32_t i = 0; i < participants; i++) {
        plait_lock_t *life = &plait__slot_at(h, i)->life;

        plait__robust_init(life, PLAIT_SHARED | plait__lock_mode(h), plait__offset_in(h, life));
    }
    h->top = plait__heap_offset(participants);
    store64_release(&h->magic, PLAIT__ARENA_MAGIC); /* E1 */
}

/* Others may be allocating meanwhile: what changes is looked at in the order in which it holds (E2 of alloc.c). */
bool plait__header_is_sound(const struct plait__arena_header *h, uint64_t size)
{
    uint64_t heap, top, reserved;

    if (size < sizeof *h || load64_acquire(&h->magic) != PLAIT__ARENA_MAGIC) /* E1 */
        return false;
    if (h->version != PLAIT__ARENA_VERSION || h->checksum != checksum(h))
        return false;
    if (h->limit != size || h->participants == 0 || h->participants > 32768)
        return false;
    heap = plait__heap_offset(h->participants);
    top = load64_acquire(&h->top); /* E2 */
    reserved = load64_relaxed(&h->reserved);
    return heap < h->limit && reserved <= h->limit && top >= heap && top <= reserved &&
           (top - heap) % PLAIT__BLOCK_UNIT == 0 &&
           load_acquire(&h->slots_high) <= h->participants && h->lock.state == PLAIT__LOCK_IS_SHARED &&
           h->lock.arena_offset == offsetof(struct plait__arena_header, lock) &&
           h->lock.mode == (PLAIT_SHARED | plait__lock_mode(h));
}

int plait__header_verify(const struct plait__arena_header *h, uint64_t size)
{
    if (!plait__header_is_sound(h, size))
        return EBADMSG;
    if (h->layout != plait__robust_layout() || (h->flags & PLAIT__ARENA_NO_LISTS) != lists_flag() ||
        h->pid_namespace != pid_namespace())
        return EBADMSG;
    return 0;
}
