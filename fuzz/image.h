/* SPDX-License-Identifier: MIT */
/* Images: the bytes of sound arenas, one for each scene and way in which its users ended; and damage to them. */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include "fuzz/fuzz.h"

struct image {
    const struct scene *scene;
    bool spoilt;                 /* its last user was killed with its hands full */
    uint64_t places[PLACES_MAX]; /* offsets of the scene's objects */
    uint64_t used;               /* bytes; all behind them are 0 */
    uint32_t slots;              /* entries of the participants' table that were ever used */
    uint32_t block_count;
    uint32_t blocks[2048];       /* offsets */
    unsigned char bytes[IMAGE_SIZE];
};

/* One damage, as the input has it. */
struct damage {
    uint8_t region;
    uint8_t position[2];
    uint8_t how;
    uint8_t value;
    uint8_t when; /* below LATE: before the arena is opened; else at a moment of its use */
};

enum { LATE = 192 };

/* Make all images; false: it cannot be done here. Forks; the caller takes part in no arena. */
bool images_make(void);

/* `at` and `ref_to` name the objects of that image. */
void image_use_places(const struct image *image);

/* Image number `number`, modulo how many there are. */
const struct image *image_number(unsigned number);
unsigned image_count(void);

/* Do that to the bytes at `base`, which were the image's; not to those for which `is_spared` says so. */
void damage_do(const struct image *image, unsigned char *base, const struct damage *damage,
               bool (*is_spared)(const void *start, size_t size));

#endif
