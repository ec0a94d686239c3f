/* SPDX-License-Identifier: MIT */
/* Dict: values found by keys, both of them bytes of any length. */
#ifndef PLAIT_DICT_H
#define PLAIT_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <plait/arena.h>
#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_dict_t - a handle on a dictionary: for each key one value, copied in and copied out. Keys are equal if their bytes are.
 *
 *     plait_dict_t *stock;
 *     plait_dict_new(&stock, &(struct plait_dict_opts){ .arena = arena, .name = "stock" });
 *
 *     plait_dict_set(stock, PLAIT_TEXT("apples"), &count, sizeof count);
 *     plait_dict_add(stock, PLAIT_TEXT("apples"), -1, &left);      // in one step, whoever else does so
 *
 *     if (plait_dict_get(stock, PLAIT_TEXT("pears"), &count, sizeof count, NULL) == ENOENT)
 *         ...                                                      // there is no such key
 *
 * It has no states but what is in it. Every call takes effect at one instant, between others' or after them, and sees all
 * that calls which had returned before it did. Readers do not exclude each other; who changes excludes all others meanwhile. Nobody starves.
 *
 * A call waits for no more than the calls of others; its wait ends with ECANCELED, and nothing done, if the caller's
 * cancel token is set (which may have a deadline); contains, len and a free dict do not look at that. From within a function that a
 * dict calls (modify, for_each), a call that would change that dict answers EDEADLK; so does one that reads it, within modify.
 *
 * Private, or with .arena shared between processes: then a killed process, at any instruction, leaves the others able to go on. What
 * had returned is there; a change that had not returned has been made whole or not at all; of plait_dict_update, the first so
 * many. Nobody is told. A function that was running in plait_dict_modify has changed nothing.
 *
 * It grows and shrinks by a step with each change, and nobody ever waits for the whole of it to be moved. Beside its bytes a key
 * takes 32 bytes (48, if it or its value has 65,535 bytes or more) and its part of a table of 16 to 64, in memory of its own. In an
 * arena a key and a value of together up to 16 bytes take 64, and that part.
 *
 * Answers of every call on a shared dict, beyond its own: ENOSPC: the arena, or its table of participants, is full.
 * EBADMSG: the arena's bytes are damaged. ENOTRECOVERABLE: they were found damaged after a death. EOVERFLOW: as
 * plait_lock_acquire. And, private: ENOMEM. None of them is for signal handlers.
 */
typedef struct plait_dict plait_dict_t;

/* Options of plait_dict_new; zero is the default of each. */
struct plait_dict_opts {
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the dict published by this name, or make and publish it */
};

/* A string as key or value: its bytes without the 0 at the end. Evaluated twice. */
#define PLAIT_TEXT(string) (string), strlen(string)

/* A key with its value. */
struct plait_dict_item {
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    uint64_t version; /* of the value: plait_dict_get_version; update does not look at it */
    uint64_t number;  /* the less, the earlier the key came; update does not look at it */
};

/* Make a dict, or with .name open the one that there is. EINVAL: a name without arena. EBADMSG: something else has that name. */
PLAIT_API int plait_dict_new_sized(plait_dict_t **dict_out, const struct plait_dict_opts *opts, size_t opts_size);

PLAIT_API int plait_dict_new(plait_dict_t **dict_out, const struct plait_dict_opts *opts);
PLAIT_INLINE_ALWAYS int plait_dict_new(plait_dict_t **dict_out, const struct plait_dict_opts *opts)
{
    return plait_dict_new_sized(dict_out, opts, sizeof(struct plait_dict_opts));
}

/*
 * Drop the handle; NULL is allowed. A private dict is destroyed: nobody may be using it. A shared one stays in the arena for
 * the other handles and references; it is destroyed by plait_dict_destroy, or with the arena.
 */
PLAIT_API int plait_dict_free(plait_dict_t *dict);

/*
 * Destroy a shared dict and drop the handle: its memory goes back to the arena, its names are free. No process
 * may use it any more;
 * handles that are left may only be dropped. For a private one the same as plait_dict_free. Of a damaged one some memory is lost.
 */
PLAIT_API int plait_dict_destroy(plait_dict_t *dict);

/* Name a shared dict in plain bytes, for plait_dict_open. EINVAL: it is private. */
PLAIT_API int plait_dict_ref(const plait_dict_t *dict, plait_ref_t *ref_out);

/* Make a handle on the shared dict that `ref` names. EBADMSG: there is no dict there. ENOENT, EINVAL as plait_ref_open. ENOMEM. */
PLAIT_API int plait_dict_open(plait_dict_t **dict_out, plait_ref_t ref);

/* Publish a shared dict under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup
 * and plait_dict_open in one. Errors as theirs. */
PLAIT_API int plait_dict_publish(plait_dict_t *dict, const char *name);
PLAIT_API int plait_dict_lookup(plait_dict_t **dict_out, plait_arena_t *arena, const char *name);

/*
 * Keys have up to 2^32 - 1 bytes, values up to 2^40; more is EINVAL. With a size of 0 the pointer may be NULL.
 */

/* Set the key's value to a copy of value[0..value_size), whether it had one or not. ENOMEM, ENOSPC: no memory; nothing is changed. */
PLAIT_API int plait_dict_set(plait_dict_t *dict, const void *key, size_t key_size, const void *value, size_t value_size);

/*
 * Copy the key's value into value[0..room). *size_out receives its size; if size_out is NULL, its size must be `room`. Returns
 *   0          done
 *   ENOENT     there is no such key
 *   EMSGSIZE   the value has another size than can be taken; *size_out says which, and nothing is copied
 */
PLAIT_API int plait_dict_get(plait_dict_t *dict, const void *key, size_t key_size, void *value, size_t room,
                             size_t *size_out);

/* The same into new memory, for the caller to free(), with a 0 behind the last byte. ENOENT; ENOMEM. size_out may be NULL. */
PLAIT_API int plait_dict_get_copy(plait_dict_t *dict, const void *key, size_t key_size, void **value_out,
                                  size_t *size_out);

/* Is there such a key? False also if it cannot be told (damaged). */
PLAIT_API bool plait_dict_contains(plait_dict_t *dict, const void *key, size_t key_size);

/* Take the key out. ENOENT: there is none. */
PLAIT_API int plait_dict_delete(plait_dict_t *dict, const void *key, size_t key_size);

/* Get and delete in one step. Returns as plait_dict_get; after EMSGSIZE it is still there. */
PLAIT_API int plait_dict_pop(plait_dict_t *dict, const void *key, size_t key_size, void *value, size_t room,
                             size_t *size_out);

/*
 * Set the key's value unless it has one, and get what is there then, in one step; *value may be the memory of `initial`. Returns
 * as plait_dict_get, but never ENOENT; after EMSGSIZE a key that was missing is there; ENOMEM, ENOSPC.
 */
PLAIT_API int plait_dict_setdefault(plait_dict_t *dict, const void *key, size_t key_size, const void *initial,
                                    size_t initial_size, void *value, size_t room, size_t *size_out);

/*
 * Set `count` keys to their values, one after the other; nobody sees less than all, but after an error: *done_out (may be NULL)
 * receives how many are set, fewer only with an error, which is that of plait_dict_set for the next.
 */
PLAIT_API int plait_dict_update(plait_dict_t *dict, const struct plait_dict_item *items, size_t count, size_t *done_out);

/* Take all keys out. */
PLAIT_API int plait_dict_clear(plait_dict_t *dict);

/* The number of keys. */
PLAIT_API size_t plait_dict_len(plait_dict_t *dict);

/* ---- Read, then write, in one step ---- */

/* What a function that is called by plait_dict_modify sees, and decides. */
struct plait_dict_change {
    const void *key;
    size_t key_size;
    const void *value; /* what is there until the function returns; NULL: there is no such key */
    size_t value_size;
    const void *new_value; /* at first `value`, which means: stays as it is; NULL: the key is taken out */
    size_t new_size;       /* new_value's memory must be there until plait_dict_modify returns */
};

/*
 * Call function(change, arg), and do what it has put into `change`, while nobody else uses the dict. If it does not return 0, nothing is
 * changed, and modify returns what it returned. The function must return, soon (all others wait), and may not use the dict: EDEADLK. If
 * the process is killed in it, nothing is changed. Returns 0, or as plait_dict_set.
 */
PLAIT_API int plait_dict_modify(plait_dict_t *dict, const void *key, size_t key_size,
                                int (*function)(struct plait_dict_change *change, void *arg), void *arg);

/*
 * Add to the int64_t that is the key's value (a missing key counts as 0); *sum_out (may be NULL) receives the sum. EINVAL: the value
 * has not 8 bytes. EOVERFLOW: the sum has no place in them. Nothing is changed then.
 */
PLAIT_API int plait_dict_add(plait_dict_t *dict, const void *key, size_t key_size, int64_t summand, int64_t *sum_out);

/*
 * Get a value with its version: a number that no other value in this dict ever had or will have; 0 with ENOENT. compare_set sets a new value
 * only if the key still has that of the version (0: is still missing), and *version_out (may be NULL) receives the new value's;
 * compare_delete takes the key out only then. EAGAIN, and nothing done: it has another, or is missing, or is there.
 *
 *     do {
 *         err = plait_dict_get_version(dict, key, size, &old, sizeof old, NULL, &version);
 *         new = err == ENOENT ? first() : next_after(old);         // as long as it may take
 *         err = plait_dict_compare_set(dict, key, size, version, &new, sizeof new, NULL);
 *     } while (err == EAGAIN);
 */
PLAIT_API int plait_dict_get_version(plait_dict_t *dict, const void *key, size_t key_size, void *value, size_t room,
                                     size_t *size_out, uint64_t *version_out);
PLAIT_API int plait_dict_compare_set(plait_dict_t *dict, const void *key, size_t key_size, uint64_t version,
                                     const void *value, size_t value_size, uint64_t *version_out);
PLAIT_API int plait_dict_compare_delete(plait_dict_t *dict, const void *key, size_t key_size, uint64_t version);

/* ---- All of it ---- */

/*
 * Copy all that is in it at one instant, in the order in which the keys came; keys: without the values (value is NULL). *items_out
 * receives an array of *count_out items; array and bytes are one piece of memory, for the caller to free(); NULL if there are
 * none. Behind each key and value lies a byte 0. ENOMEM.
 */
PLAIT_API int plait_dict_items(plait_dict_t *dict, struct plait_dict_item **items_out, size_t *count_out);
PLAIT_API int plait_dict_keys(plait_dict_t *dict, struct plait_dict_item **items_out, size_t *count_out);

/*
 * Call function(item, arg) for all that is in it, in no particular order, without a copy: changes wait meanwhile. What the item points to
 * is there until the function returns. It may read the dict; to change it is EDEADLK. If it does not return 0, that ends
 * the loop, and is returned.
 */
PLAIT_API int plait_dict_for_each(plait_dict_t *dict, int (*function)(const struct plait_dict_item *item, void *arg),
                                  void *arg);

PLAIT_END_DECLS

#endif
