/* SPDX-License-Identifier: MIT */
/* List: items in an order, each of them bytes of any length, found by their index. */
#ifndef PLAIT_LIST_H
#define PLAIT_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/dict.h> /* PLAIT_TEXT */
#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_list_t - a handle on a list, whose items are copied in and copied out. The first has index 0; -1 is the last, -2 the one before it.
 *
 *     plait_list_t *hosts;
 *     plait_list_new(&hosts, &(struct plait_list_opts){ .arena = arena, .name = "hosts" });
 *
 *     plait_list_append(hosts, PLAIT_TEXT("alpha"));
 *     plait_list_insert(hosts, 0, PLAIT_TEXT("omega"));
 *
 *     char name[100];
 *     size_t size;
 *     if (plait_list_get(hosts, -1, name, sizeof name, &size) == ENOENT)
 *         ...                                                      // it is empty
 *
 * It has no states but what is in it. Every call takes effect at one instant, between others' or after them, and sees all
 * that calls which had returned before it did. Readers do not exclude each other; who changes excludes all others meanwhile. Nobody starves.
 *
 * A call waits for no more than the calls of others; its wait ends with ECANCELED, and nothing done, if the caller's
 * cancel token is set; contains, len and a free list do not look at that. From within a function that a
 * list calls (modify, sort, for_each), a call that would change that list answers EDEADLK; so does one that reads it, within modify and sort.
 *
 * Private, or with .arena shared between processes: then a killed process, at any instruction, leaves the others able to go on. What
 * had returned is there; a change that had not returned has been made whole or not at all; of plait_list_extend, the first so
 * many. Nobody is told. A function that was running in modify or sort has changed nothing.
 *
 * Append, get, set, and delete at the end take the same time however long it is; insert and delete move all that is behind, 8 bytes an item, as
 * in Python. An item is a piece of memory of its own, with 8 bytes beside its own, and its part of a table of 8 to 32.
 *
 * Answers of every call on a shared list, beyond its own: ENOSPC: the arena, or its table of participants, is full.
 * EBADMSG: the arena's bytes are damaged. ENOTRECOVERABLE: they were found damaged after a death. EOVERFLOW: as
 * plait_lock_acquire. And, private: ENOMEM. None of them is for signal handlers.
 */
typedef struct plait_list plait_list_t;

/* Options of plait_list_new; zero is the default of each. */
struct plait_list_opts {
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the list published by this name, or make and publish it */
};

struct plait_list_item {
    const void *bytes;
    size_t size;
};

/* Make a list, or with .name open the one that there is. EINVAL: a name without arena. EBADMSG: something else has that name. */
PLAIT_API int plait_list_new_sized(plait_list_t **list_out, const struct plait_list_opts *opts, size_t opts_size);

PLAIT_API int plait_list_new(plait_list_t **list_out, const struct plait_list_opts *opts);
PLAIT_INLINE_ALWAYS int plait_list_new(plait_list_t **list_out, const struct plait_list_opts *opts)
{
    return plait_list_new_sized(list_out, opts, sizeof(struct plait_list_opts));
}

/*
 * Drop the handle; NULL is allowed. A private list is destroyed: nobody may be using it. A shared one stays in the arena for
 * the other handles and references; it is destroyed by plait_list_destroy, or with the arena.
 */
PLAIT_API int plait_list_free(plait_list_t *list);

/*
 * Destroy a shared list and drop the handle: its memory goes back to the arena, its names are free. No process
 * may use it any more;
 * handles that are left may only be dropped. For a private one the same as plait_list_free. Of a damaged one some memory is lost.
 */
PLAIT_API int plait_list_destroy(plait_list_t *list);

/* Name a shared list in plain bytes, for plait_list_open. EINVAL: it is private. */
PLAIT_API int plait_list_ref(const plait_list_t *list, plait_ref_t *ref_out);

/* Make a handle on the shared list that `ref` names. EBADMSG: there is no list there. ENOENT, EINVAL as plait_ref_open. ENOMEM. */
PLAIT_API int plait_list_open(plait_list_t **list_out, plait_ref_t ref);

/* Publish a shared list under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup
 * and plait_list_open in one. Errors as theirs. */
PLAIT_API int plait_list_publish(plait_list_t *list, const char *name);
PLAIT_API int plait_list_lookup(plait_list_t **list_out, plait_arena_t *arena, const char *name);

/*
 * Items have up to 2^40 bytes; more is EINVAL. With a size of 0 the pointer may be NULL. ENOENT, of all that take an index but insert: there is no
 * such item.
 */

/* Add a copy of bytes[0..size) behind the last item. ENOMEM, ENOSPC: no memory; nothing is changed. */
PLAIT_API int plait_list_append(plait_list_t *list, const void *bytes, size_t size);

/* The same before the item at `index`; where there is none, before the first or behind the last, as is nearer. */
PLAIT_API int plait_list_insert(plait_list_t *list, int64_t index, const void *bytes, size_t size);

/*
 * Append `count` items, one after the other; nobody sees less than all, but after an error: *done_out (may be NULL)
 * receives how many have been appended, fewer only with an error, which is that of plait_list_append for the next.
 */
PLAIT_API int plait_list_extend(plait_list_t *list, const struct plait_list_item *items, size_t count, size_t *done_out);

/* Put a copy of bytes[0..size) in the place of the item at `index`. ENOMEM, ENOSPC as append. */
PLAIT_API int plait_list_set(plait_list_t *list, int64_t index, const void *bytes, size_t size);

/*
 * Copy the item at `index` into bytes[0..room). *size_out receives its size; if size_out is NULL, its size must be `room`. Returns
 *   0          done
 *   ENOENT     there is no such item
 *   EMSGSIZE   it has another size than can be taken; *size_out says which, and nothing is copied
 */
PLAIT_API int plait_list_get(plait_list_t *list, int64_t index, void *bytes, size_t room, size_t *size_out);

/* The same into new memory, for the caller to free(), with a 0 behind the last byte. ENOENT; ENOMEM. size_out may be NULL. */
PLAIT_API int plait_list_get_copy(plait_list_t *list, int64_t index, void **bytes_out, size_t *size_out);

/* Take the item at `index` out. */
PLAIT_API int plait_list_delete(plait_list_t *list, int64_t index);

/* Get and delete in one step. Returns as plait_list_get; after EMSGSIZE it is still there. */
PLAIT_API int plait_list_pop(plait_list_t *list, int64_t index, void *bytes, size_t room, size_t *size_out);

/* Take the first item out that has these bytes. ENOENT: none has. */
PLAIT_API int plait_list_remove(plait_list_t *list, const void *bytes, size_t size);

/* Find the first item, from the index `start` on, that has these bytes: *index_out (may be NULL). ENOENT: none has. */
PLAIT_API int plait_list_index(plait_list_t *list, const void *bytes, size_t size, int64_t start, size_t *index_out);

/* How many items have these bytes? 0 may be the answer. */
PLAIT_API int plait_list_count(plait_list_t *list, const void *bytes, size_t size, size_t *count_out);

/* Has an item these bytes? False also if it cannot be told (damaged). */
PLAIT_API bool plait_list_contains(plait_list_t *list, const void *bytes, size_t size);

/* The number of items. */
PLAIT_API size_t plait_list_len(plait_list_t *list);

/* Take all items out. */
PLAIT_API int plait_list_clear(plait_list_t *list);

/* ---- Read, then write, in one step ---- */

/* What a function that is called by plait_list_modify sees, and decides. */
struct plait_list_change {
    size_t index;
    const void *bytes; /* what is there until the function returns */
    size_t size;
    const void *new_bytes; /* at first `bytes`, which means: stays as it is; NULL: the item is taken out */
    size_t new_size;       /* new_bytes' memory must be there until plait_list_modify returns */
};

/*
 * Call function(change, arg) for the item at `index`, and do what it has put into `change`, while nobody else uses the list. If it does not return
 * 0, nothing is changed, and modify returns what it returned. The function must return, soon (all others wait), and may not
 * use the list: EDEADLK. If the process is killed in it, nothing is changed. ENOENT; ENOMEM, ENOSPC as append.
 */
PLAIT_API int plait_list_modify(plait_list_t *list, int64_t index,
                                int (*function)(struct plait_list_change *change, void *arg), void *arg);

/*
 * Sort the items: compare(a, b, arg) is less than 0 if a is to come before b, greater than 0 if behind it; equal ones stay in their order. NULL: by
 * their bytes, as memcmp, a beginning before what it begins. All others wait meanwhile. ENOMEM, ENOSPC: no memory, 16 bytes an item, in shared ones 8 of
 * the arena; nothing is changed.
 */
PLAIT_API int plait_list_sort(plait_list_t *list,
                              int (*compare)(const struct plait_list_item *a, const struct plait_list_item *b, void *arg),
                              void *arg);

/* Turn the order round. ENOMEM, ENOSPC: no memory, 8 bytes an item; nothing is changed. */
PLAIT_API int plait_list_reverse(plait_list_t *list);

/* ---- All of it ---- */

/*
 * Copy all that is in it at one instant. *items_out receives an array of *count_out items; array and bytes are one piece of
 * memory, for the caller to free(); NULL if there are none. Behind the bytes of each lies a byte 0. ENOMEM.
 */
PLAIT_API int plait_list_items(plait_list_t *list, struct plait_list_item **items_out, size_t *count_out);

/*
 * Call function(item, arg) for all items, from the first on, without a copy: changes wait meanwhile. What the item points to
 * is there until the function returns. It may read the list; to change it is EDEADLK. If it does not return 0, that ends
 * the loop, and is returned.
 */
PLAIT_API int plait_list_for_each(plait_list_t *list, int (*function)(const struct plait_list_item *item, void *arg),
                                  void *arg);

PLAIT_END_DECLS

#endif
