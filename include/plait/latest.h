/* SPDX-License-Identifier: MIT */
/* Latest value: one value that is written again and again, and read by anybody without waiting. */
#ifndef PLAIT_LATEST_H
#define PLAIT_LATEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_latest_t - a handle on a cell that holds the value written last: a configuration, a position, a table of prices.
 *
 *     plait_latest_t *position;
 *     plait_latest_new(&position, &(struct plait_latest_opts){ .value_size = sizeof(struct position) });
 *
 *     plait_latest_write(position, &here, PLAIT_FOREVER);             // whoever knows better
 *
 *     plait_latest_read(position, &there, NULL);                      // whoever wants to know
 *
 *     uint64_t version = 0;                                           // whoever wants to know each time
 *     while (plait_latest_read_newer(position, &there, &version, PLAIT_FOREVER) == 0)
 *         draw(&there);                                               // until EPIPE: closed
 *
 * Values are of one size, and copied in and out whole: what is read is always one value that was written, never parts of two.
 * Each write makes a version: 1, 2, 3 and so on. A read gives a version that was the latest at some instant during the call; so
 * no caller, and nobody who hears from one, ever sees versions go backward. Who is slow misses versions, and gets the latest.
 *
 * States: empty, until the first write; then there is always a value. Closed: no more writes; the last value can still be read.
 *
 * Readers wait for nobody and hold up nobody: a read neither takes a lock nor is counted, and the death of a reader, or its being
 * stopped, means nothing to others. As a rule it writes nothing either; one that writers have overtaken twice asks
 * for a version to be left alone, and the next writer does so. Readers of a shared one take no place in the arena's table of
 * participants. Writers exclude one another, for as long as it takes to copy a value.
 *
 * Private, or with .arena shared between processes: then a writer may be killed at any instruction; its version is there
 * whole, or not at all, and others go on at once. If the death falls between the write and the waking of sleepers, these notice in
 * less than a second.
 *
 * Memory: four times the size of the value, rounded up to 64 bytes, at once.
 */
typedef struct plait_latest plait_latest_t;

/* Options of plait_latest_new; zero is the default of each but value_size. */
struct plait_latest_opts {
    size_t value_size;    /* bytes, 1 to 1 GiB */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the one published by this name, or make and publish it */
};

/*
 * Make one, or with .name open the one that there is. EINVAL: value_size is 0 or above 1 GiB, a name without arena, or
 * the one of that name has another value_size. EBADMSG: something else has that name. ENOMEM (private), ENOSPC (shared): no room.
 */
PLAIT_API int plait_latest_new_sized(plait_latest_t **latest_out, const struct plait_latest_opts *opts, size_t opts_size);

PLAIT_API int plait_latest_new(plait_latest_t **latest_out, const struct plait_latest_opts *opts);
PLAIT_INLINE_ALWAYS int plait_latest_new(plait_latest_t **latest_out, const struct plait_latest_opts *opts)
{
    return plait_latest_new_sized(latest_out, opts, sizeof(struct plait_latest_opts));
}

/*
 * Drop the handle; NULL is allowed. A private one is destroyed: nobody may be using it (close it and join its users first). A
 * shared one stays in the arena for the other handles and references.
 */
PLAIT_API int plait_latest_free(plait_latest_t *latest);

/*
 * Destroy a shared one and drop the handle: its memory goes back to the arena, its names are free. No process
 * may use it any more; handles that
 * are left may only be dropped. For a private one the same as plait_latest_free.
 */
PLAIT_API int plait_latest_destroy(plait_latest_t *latest);

/* Name a shared one in plain bytes, for plait_latest_open. EINVAL: it is private. */
PLAIT_API int plait_latest_ref(const plait_latest_t *latest, plait_ref_t *ref_out);

/*
 * Make a handle on the shared one that `ref` names. EBADMSG: there is none. ENOENT, EINVAL as plait_ref_open. ENOMEM.
 */
PLAIT_API int plait_latest_open(plait_latest_t **latest_out, plait_ref_t ref);

/* Publish a shared one under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup and
 * plait_latest_open in one. Errors as theirs. */
PLAIT_API int plait_latest_publish(plait_latest_t *latest, const char *name);
PLAIT_API int plait_latest_lookup(plait_latest_t **latest_out, plait_arena_t *arena, const char *name);

/*
 * Make *value the latest one, and wake all who wait for a newer one. Waits for no reader, but until the deadline for another writer
 * who is at it, which takes as long as copying a value, unless that one is stopped. Returns
 *   0          done; what the caller did before is seen by whoever reads this version, or a later one
 *   ETIMEDOUT  another writer was at it until the deadline; with PLAIT_NOW: is at it
 *   EPIPE      closed
 *   ECANCELED  the caller's cancel token was set while another writer was at it
 *   ENOSPC     shared: the arena's table of participants is full
 * But for 0, nothing is written. Not for signal handlers.
 */
PLAIT_API int plait_latest_write(plait_latest_t *latest, const void *value, plait_time_t deadline);

/*
 * Copy the latest value into *value, and its version into *version_out (may be NULL). Never waits, takes no lock, and is
 * async-signal-safe. Closed or not. Returns
 *   0        done
 *   ENOENT   nothing has been written yet; *version_out is 0
 *   EBADMSG  shared: the memory is damaged
 * With an error, what is in *value means nothing. A read is repeated when writers overtake it, which ends after a few
 * times however slow the reader is, as he then asks (see above).
 */
PLAIT_API int plait_latest_read(const plait_latest_t *latest, void *value, uint64_t *version_out);

/*
 * Wait until the latest version is newer than *version, which is what the caller has seen (0: nothing); copy its value into
 * *value and its number into *version. A cancellation point of pthreads where it has to sleep. Returns
 *   0          done
 *   ETIMEDOUT  nothing newer by the deadline; with PLAIT_NOW: nothing newer
 *   EPIPE      closed, and nothing newer will come
 *   ECANCELED  the caller's cancel token was set first
 *   EBADMSG    shared: the memory is damaged
 * With an error *version is as it was. Not for signal handlers.
 */
PLAIT_API int plait_latest_read_newer(plait_latest_t *latest, void *value, uint64_t *version, plait_time_t deadline);

/* plait_latest_read_newer as an entry of plait_wait_any. *value and *version are written only if that entry wins. */
PLAIT_API struct plait_wait_entry plait_any_latest_read_newer(plait_latest_t *latest, void *value, uint64_t *version);

/*
 * No more writes: a write answers EPIPE, and who waits for a newer version does once he has the last one. Closing again changes
 * nothing. 0, or ENOSPC as write; waits for a writer who is at it.
 */
PLAIT_API int plait_latest_close(plait_latest_t *latest);

/* Is it closed? */
PLAIT_API bool plait_latest_is_closed(const plait_latest_t *latest);

/* The latest version, at some instant during the call; 0: nothing has been written yet. */
PLAIT_API uint64_t plait_latest_version(const plait_latest_t *latest);

/* The option it was made with. */
PLAIT_API size_t plait_latest_value_size(const plait_latest_t *latest);

PLAIT_END_DECLS

#endif
