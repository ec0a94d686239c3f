/* SPDX-License-Identifier: MIT */
/* Damaged arenas: scenes of objects, and what is done with them once bytes of their arena are damaged. README tells how. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <plait.h>

#include "arena/arena.h"

enum { IMAGE_SIZE = 512 * 1024, IMAGE_PARTICIPANTS = 12, PLACES_MAX = 24, STEPS_MAX = 16 };

/* Some nouns that live in one arena. */
struct scene {
    const char *name;
    int (*make)(void);                /* put them into the new, empty `arena` */
    void (*spoil)(void);              /* take as much into one's hands as one can; the process is killed after that */
    void (*steps[STEPS_MAX])(void);   /* use them; in any order, and whatever is in the memory */
};

extern const struct scene lock_scene, count_scene, fifo_scene, pile_scene, message_scene, joinable_scene, stream_scene,
    cell_scene, dict_scene, list_scene, arena_scene;

/* The arena of the scene, as this process has it open now. */
extern plait_arena_t *arena;

/* Where an object of the scene lies, said when it is made; then its address and reference in `arena`. */
void remember(unsigned number, const void *address);
void *at(unsigned number);
plait_ref_t ref_to(unsigned number);

/* An instant at which bytes may be damaged that are in use. */
void moment(void);

/*
 * A call of the library, which is watched for coming back; and CALL, for those that answer with an error, looks whether that is one
 * that there is.
 */
void call_begins(const char *what);
int call_answers(int err);
#define CALL(call) (call_begins(#call), call_answers(call))
#define LOOK(call) (call_begins(#call), (call))

/* A deadline that is near. */
static inline plait_time_t soon(void)
{
    return plait_after(0.002);
}

/* What the input says about the order of things, as a number that goes on from call to call. */
unsigned choice(unsigned below);

#endif
