/* SPDX-License-Identifier: MIT */
#include "fuzz/image.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct scene *const scenes[] = { &lock_scene,   &count_scene,  &fifo_scene, &pile_scene,
                                              &message_scene, &joinable_scene, &stream_scene, &cell_scene,
                                              &dict_scene,   &list_scene,   &arena_scene };
enum { SCENES = sizeof scenes / sizeof scenes[0] };

plait_arena_t *arena;

static struct image *images;
static uint64_t *places; /* of the scene that is being made: shared with the children that make it */

/* ---- Places ------------------------------------------------------------------------------- */

void remember(unsigned number, const void *address)
{
    places[number] = plait__offset_in(arena->base, address);
}

void *at(unsigned number)
{
    return plait__at(arena->base, places[number]);
}

plait_ref_t ref_to(unsigned number)
{
    return (plait_ref_t){ arena->id, places[number] };
}

void image_use_places(const struct image *image)
{
    memcpy(places, image->places, sizeof image->places);
}

/* ---- Making ------------------------------------------------------------------------------- */

static int open_own(void *memory)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .memory = memory, .memory_size = IMAGE_SIZE,
                                                               .participants = IMAGE_PARTICIPANTS });
}

/* Both in a process of its own: this one takes no part, and the second dies. */
static bool in_child(void *memory, int (*make)(void), void (*spoil)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (open_own(memory))
            _exit(2);
        if (make && make())
            _exit(3);
        if (spoil) {
            spoil();
            raise(SIGKILL);
        }
        plait_arena_free(arena);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    return spoil ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void find_blocks(struct image *image)
{
    const struct plait__arena_header *h = (const void *)image->bytes;
    uint64_t offset = plait__heap_offset(h->participants);

    image->used = h->top;
    image->slots = h->slots_high;
    while (offset < h->top && image->block_count < sizeof image->blocks / sizeof image->blocks[0]) {
        image->blocks[image->block_count++] = (uint32_t)offset;
        offset += plait__class_size(((const struct plait__block *)(const void *)(image->bytes + offset))->class);
    }
}

static bool make_image(struct image *image, const struct scene *scene, bool spoilt, unsigned char *memory)
{
    memset(memory, 0, IMAGE_SIZE);
    if (!in_child(memory, scene->make, NULL) || (spoilt && !in_child(memory, NULL, scene->spoil))) {
        fprintf(stderr, "scene %s cannot be made\n", scene->name);
        return false;
    }
    image->scene = scene;
    image->spoilt = spoilt;
    memcpy(image->places, places, sizeof image->places);
    memcpy(image->bytes, memory, IMAGE_SIZE);
    find_blocks(image);
    return true;
}

static void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

bool images_make(void)
{
    unsigned char *memory = shared_memory(IMAGE_SIZE);
    bool made = true;

    places = shared_memory(sizeof images->places);
    images = calloc(2 * SCENES, sizeof *images);
    if (!memory || !places || !images)
        return false;
    for (unsigned i = 0; made && i < 2 * SCENES; i++)
        made = make_image(&images[i], scenes[i / 2], i % 2, memory);
    munmap(memory, IMAGE_SIZE);
    return made;
}

const struct image *image_number(unsigned number)
{
    return &images[number % (2 * SCENES)];
}

unsigned image_count(void)
{
    return 2 * SCENES;
}

/* ---- Damage ------------------------------------------------------------------------------- */

/* Where: header, participants, anywhere below the end of the heap, or a block with its header. */
static void find_region(const struct image *image, unsigned region, uint64_t *start_out, uint64_t *size_out)
{
    enum { HEADER = 8, SLOTS = 16, ANYWHERE = 32 };

    *start_out = 0;
    *size_out = image->used;
    if (region < HEADER) {
        *size_out = sizeof(struct plait__arena_header);
    } else if (region < SLOTS) {
        *start_out = plait__slots_offset();
        *size_out = (image->slots + 1) * sizeof(struct plait__slot);
    } else if (region >= ANYWHERE) {
        unsigned block = (region - ANYWHERE) % image->block_count;

        *start_out = image->blocks[block];
        *size_out = (block + 1 < image->block_count ? image->blocks[block + 1] : image->used) - *start_out;
    }
}

/* Numbers that are at the edge of something, or name something. */
static uint64_t telling_number(const struct image *image, unsigned number, uint64_t offset)
{
    switch (number % 32) {
    case 0: return 0;
    case 1: return 1;
    case 2: return 2;
    case 3: return UINT64_MAX;
    case 4: return INT64_MAX;
    case 5: return (uint64_t)1 << 63;
    case 6: return UINT32_MAX;
    case 7: return INT32_MAX;
    case 8: return (uint64_t)1 << 31;
    case 9: return 0x40000000;
    case 10: return IMAGE_SIZE;
    case 11: return IMAGE_SIZE - 8;
    case 12: return IMAGE_SIZE - 64;
    case 13: return image->used;
    case 14: return image->used - 16;
    case 15: return plait__heap_offset(IMAGE_PARTICIPANTS);
    case 16: return plait__slots_offset();
    case 17: return offset;
    case 18: return offset + 16;
    case 19: return 4096;
    case 20: return 7;
    case 21: return 1000;
    case 22: return (uint64_t)1 << 32;
    case 23: return UINT64_MAX - 7;
    case 24: return (uint64_t)getpid();
    case 25: return (uint64_t)0x80000000 | (uint64_t)getpid();
    case 26: return 48;
    case 27: return 256;
    default: return image->blocks[(number * 7 + offset) % image->block_count] + (number & 1 ? 16 : 0);
    }
}

static void put_bytes(unsigned char *to, const void *from, size_t size, bool (*is_spared)(const void *, size_t))
{
    if (!is_spared(to, size))
        memcpy(to, from, size);
}

void damage_do(const struct image *image, unsigned char *base, const struct damage *damage,
               bool (*is_spared)(const void *start, size_t size))
{
    uint64_t position = damage->position[0] | (uint64_t)damage->position[1] << 8, start, size, offset, number, old;
    uint32_t half;
    uint8_t byte;

    find_region(image, damage->region, &start, &size);
    offset = start + position * (size > 65536 ? size / 65536 + 1 : 1) % size;
    number = telling_number(image, damage->value, offset & ~(uint64_t)7);
    byte = base[offset];
    switch (damage->how % 8) {
    case 0:
    case 1:
    case 2:
        byte ^= (uint8_t)(1 << damage->value % 8);
        put_bytes(base + offset, &byte, 1, is_spared);
        break;
    case 3:
        byte = damage->value;
        put_bytes(base + offset, &byte, 1, is_spared);
        break;
    case 4:
        half = (uint32_t)number;
        put_bytes(base + (offset & ~(uint64_t)3), &half, sizeof half, is_spared);
        break;
    case 5:
        put_bytes(base + (offset & ~(uint64_t)7), &number, sizeof number, is_spared);
        break;
    case 6: /* a little more or less */
        memcpy(&old, base + (offset & ~(uint64_t)7), sizeof old);
        old += (uint64_t)(int64_t)(int8_t)damage->value;
        put_bytes(base + (offset & ~(uint64_t)7), &old, sizeof old, is_spared);
        break;
    default: /* something from elsewhere */
        memcpy(&old, base + ((start + (position + 8u * damage->value) % size) & ~(uint64_t)7), sizeof old);
        put_bytes(base + (offset & ~(uint64_t)7), &old, sizeof old, is_spared);
        break;
    }
}
