/* SPDX-License-Identifier: MIT */
/*
 * How it works: an input says which image is taken, how it is opened, in which order its nouns are used, and what is damaged
 * when. For libFuzzer, or called by driver.c. README has the format.
 *
 * An arena that the thread cannot leave in order, because damage keeps it from giving a lock back, stays mapped for ever: the
 * thread's list of locks leads through it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena/door.h"
#include "fuzz/damaged_arena.h"
#include "fuzz/image.h"
#include "wait/robust.h"

enum { FENCE = 64 << 20, HEAD = 3 }; /* what lies beside an arena that is opened as one's own memory: nothing */

static struct fuzz_progress no_progress;
struct fuzz_progress *fuzz_progress = &no_progress;
bool fuzz_talks, fuzz_late;

static const struct image *image;
static const struct damage *damages;
static size_t damage_count;
static unsigned moments;
static uint32_t choices;

/* ---- What the scenes ask ------------------------------------------------------------------ */

void call_begins(const char *what)
{
    fuzz_progress->call = what;
    fuzz_progress->calls++;
}

int call_answers(int err)
{
    static const int errors[] = { 0,       ETIMEDOUT, EPIPE,   ECANCELED, EOWNERDEAD, ENOTRECOVERABLE, EPERM,
                                  EDEADLK, EOVERFLOW, EINVAL,  ENOMEM,    ENOSPC,     EBUSY,           EBADMSG,
                                  ENOSYS,  ENOENT,    EEXIST,  EMSGSIZE };

    if (fuzz_talks)
        fprintf(stderr, "%s: %s\n", fuzz_progress->call, plait_strerror(err));
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (err == errors[i])
            return err;
    fprintf(stderr, "FUZZ: answered %d: %s\n", err, fuzz_progress->call);
    abort();
}

unsigned choice(unsigned below)
{
    choices = choices * 1664525 + 1013904223;
    return (choices >> 8) % below;
}

/* What the process's own list of locks leads through. */
static bool is_listed(const void *start, size_t size)
{
    size_t reach = sizeof(plait_lock_t);

    return plait__robust_holds_within((const char *)start - reach, size + 2 * reach);
}

static bool is_never_listed(const void *start, size_t size)
{
    return false;
}

void moment(void)
{
    moments++;
    for (size_t i = 0; fuzz_late && i < damage_count; i++)
        if (damages[i].when >= LATE && (unsigned)damages[i].when - LATE == moments % (unsigned)(256 - LATE))
            damage_do(image, (unsigned char *)arena->base, &damages[i], is_listed);
}

/* ---- One arena ---------------------------------------------------------------------------- */

static void lay(unsigned char *base)
{
    memcpy(base, image->bytes, image->used);
    for (size_t i = 0; i < damage_count; i++)
        if (damages[i].when < LATE)
            damage_do(image, base, &damages[i], is_never_listed);
}

static void use(uint8_t first)
{
    unsigned count = 0;

    image_use_places(image);
    while (count < STEPS_MAX && image->scene->steps[count])
        count++;
    for (unsigned i = 0; i < count; i++)
        image->scene->steps[(first + i) % count]();
}

/* False: the thread still has something there. */
static bool leave(const void *base)
{
    return CALL(plait_arena_free(arena)) == 0 && !plait__robust_holds_within(base, IMAGE_SIZE) &&
           !plait__arena_find(base, 1);
}

static bool use_own(uint8_t first)
{
    unsigned char *fence = mmap(NULL, 2 * (size_t)FENCE + IMAGE_SIZE, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unsigned char *base = fence + FENCE;
    bool left = true;

    if (fence == MAP_FAILED || mmap(base, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
                                    0) == MAP_FAILED)
        return false;
    lay(base);
    if (CALL(plait_arena_new(&arena, &(struct plait_arena_opts){ .memory = base, .memory_size = IMAGE_SIZE })) == 0) {
        use(first);
        left = leave(base);
    }
    if (left)
        munmap(fence, 2 * (size_t)FENCE + IMAGE_SIZE);
    return left;
}

/* Fill the file behind a descriptor. */
static bool lay_in_file(int fd)
{
    unsigned char *base;

    if (fd < 0 || ftruncate(fd, IMAGE_SIZE) != 0)
        return false;
    base = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return false;
    lay(base);
    munmap(base, IMAGE_SIZE);
    return true;
}

static bool use_by_descriptor(uint8_t first)
{
    int fd = memfd_create("plait", MFD_CLOEXEC);
    bool left = true;

    if (!lay_in_file(fd))
        return false;
    if (CALL(plait__arena_attach_fd(fd, &arena)) == 0) {
        use(first);
        left = leave(arena->base);
    }
    close(fd);
    return left;
}

/* As the second who opens it, and then as the one who finds what the first has left. */
static bool use_by_name(uint8_t first)
{
    char name[64], file[80];
    bool left = true;
    int fd;

    snprintf(name, sizeof name, "fuzz-%d", (int)getpid());
    snprintf(file, sizeof file, "/plait.%s", name);
    fd = shm_open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (!lay_in_file(fd) || plait__door_join(fd))
        return false;
    if (CALL(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .open = PLAIT_OPEN })) == 0) {
        use(first);
        left = leave(arena->base);
    }
    close(fd);
    if (CALL(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = IMAGE_SIZE })) == 0)
        CALL(plait_arena_free(arena));
    shm_unlink(file);
    return left;
}

/* The arena may be unmapped by leave: what it was is known before. */
bool fuzz_one(const uint8_t *data, size_t size)
{
    bool left;

    if (size < HEAD || image_count() == 0)
        return true;
    image = image_number(data[0]);
    choices = data[2];
    moments = 0;
    damages = (const void *)(data + HEAD);
    damage_count = (size - HEAD) / sizeof *damages;
    switch (data[1] % 16) {
    case 14: left = use_by_descriptor(data[2]); break;
    case 15: left = use_by_name(data[2]); break;
    default: left = use_own(data[2]); break;
    }
    call_begins(NULL);
    return left;
}

/* ---- For libFuzzer ------------------------------------------------------------------------ */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_late = getenv("FUZZ_LATE") != NULL;
    return images_make() ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_one(data, size);
    return 0;
}
