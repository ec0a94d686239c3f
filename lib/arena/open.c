/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Open: through the door (door.c); is anybody here? If not, the file is new, unfinished, or left over from processes
 * that were killed: it is made an arena, and we become a user of it. If so, become a user and verify.
 * A file whose name was removed between our open and the door is recognised by its link count, and we try again.
 *
 * A leftover is thrown away, and a new file made: a process that ends signs off a moment before its threads stop, and they must not
 * find the memory gone. Only where the folder does not let us remove another user's file it is made afresh in place.
 *
 * A program's own memory has no door. Its magic goes from 0 to "being made" (E3: an exchange of the word) to the arena's. Who finds it being
 * made tries to get the robust lock `making`, which zeros make a free one: the one who has it makes the arena, from the
 * beginning, whatever a maker who was killed has left; who does not get it comes again. Without robust lists the owner is judged by its
 * TID alone: nobody takes part as yet (slots_high is 0).
 *
 * Memory is laid out sparse up to the limit and reserved piece by piece (alloc.c).
 */
#include "arena/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena/door.h"
#include "arena/start_time.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "wait/point.h"

#define DEFAULT_LIMIT ((size_t)1 << 30)
enum {
    DEFAULT_PARTICIPANTS = 1024,
    MEMORY_MIN = 256 * 1024,
    RESERVE_AT_ONCE = 1 << 20, /* well below a millisecond */
    NAME_MAX_LENGTH = 200,
    PID_BITS = 22,
    FD_BITS = 18
};

static uint64_t page_round(uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

/*
 * Anonymous arenas carry in their number where a relative finds the maker's descriptor (ref.c): top bit 1, process and
 * descriptor, and 23 random bits. Named ones are random.
 */
static uint64_t draw_id(int maker_fd)
{
    uint64_t id = 0;

    while (getrandom(&id, sizeof id, 0) != sizeof id)
        id ^= (uint64_t)plait_now() * 0x9e3779b97f4a7c15u;
    if (maker_fd < 0)
        return (id >> 1) | 1;
    id &= ((uint64_t)1 << (63 - PID_BITS - FD_BITS)) - 1;
    if (maker_fd >> FD_BITS || getpid() >> PID_BITS)
        return id | (uint64_t)1 << 63;
    return (uint64_t)1 << 63 | id << (PID_BITS + FD_BITS) | (uint64_t)getpid() << FD_BITS | (uint64_t)maker_fd;
}

bool plait__arena_id_maker(uint64_t id, pid_t *pid_out, int *fd_out)
{
    *pid_out = (pid_t)(id >> FD_BITS & ((1u << PID_BITS) - 1));
    *fd_out = (int)(id & ((1u << FD_BITS) - 1));
    return id >> 63 && *pid_out;
}

static int sizes(const struct plait_arena_opts *opts, uint64_t *limit_out, uint32_t *participants_out)
{
    *participants_out = opts->participants ? opts->participants : DEFAULT_PARTICIPANTS;
    if (opts->limit > (size_t)1 << 46 || *participants_out > 32768)
        return EINVAL;
    *limit_out = page_round(opts->limit ? opts->limit : DEFAULT_LIMIT);
    return *limit_out < plait__heap_offset(*participants_out) + 4096 ? EINVAL : 0;
}

static int system_error(void)
{
    return errno == EDQUOT || errno == EFBIG ? ENOSPC : errno;
}

/* fallocate is a cancellation point of libc, and here locks are held. */
static int allocate(int fd, int mode, uint64_t offset, uint64_t size)
{
    int closed = plait__point_close();
    int failed = fallocate(fd, mode, (off_t)offset, (off_t)size);

    plait__point_restore(closed);
    return failed;
}

void plait__open_punch(int fd, uint64_t offset, uint64_t size)
{
    allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

/*
 * In steps: a signal interrupts fallocate, which then undoes what it did, so a large piece would never get done in a
 * program with a timer that ticks.
 */
int plait__open_reserve(int fd, uint64_t offset, uint64_t size)
{
    uint64_t done = 0;

    while (done < size) {
        uint64_t step = size - done < RESERVE_AT_ONCE ? size - done : RESERVE_AT_ONCE;

        if (allocate(fd, 0, offset + done, step) == 0) {
            done += step;
        } else if (errno == EOPNOTSUPP || errno == ENOSYS) {
            return 0;
        } else if (errno != EINTR) {
            if (done) /* what we cannot use is of use to others */
                plait__open_punch(fd, offset, done);
            return ENOSPC;
        }
    }
    return 0;
}

/* May the process have files of that size? Asked first, because the kernel's answer is a signal, SIGXFSZ. */
static bool may_be_as_large(uint64_t size)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= size;
}

/*
 * A mapping keeps the opening alive that it was made with, and so its file locks, also in a child: they must not be
 * those of the descriptor that we close. (Without /proc we have no choice.)
 */
static int map(struct plait_arena *out)
{
    int fd = out->kind == PLAIT__ARENA_NAMED ? plait__door_reopen(out->fd) : -1;
    void *base = mmap(NULL, out->limit, PROT_READ | PROT_WRITE, MAP_SHARED, fd >= 0 ? fd : out->fd, 0);
    int refused = errno;
    struct stat st;

    if (fd >= 0)
        close(fd);
    if (base == MAP_FAILED)
        return refused == EACCES ? EACCES : ENOMEM; /* a descriptor for reading only */
    out->base = base;
    if (fstat(out->fd, &st) != 0)
        return errno;
    out->device = st.st_dev;
    out->inode = st.st_ino;
    return 0;
}

/* ---- Hints ---- */

enum { MEMS_ALLOWED = 4, INTERLEAVE = 3, LOCAL = 4, NODES_MAX = 1024, NODE_BITS = 8 * sizeof(unsigned long) };

/* The rule for the nodes belongs to the memory itself, and holds in all processes. */
static bool place_on_nodes(void *base, uint64_t size, unsigned hints)
{
    unsigned long nodes[NODES_MAX / NODE_BITS] = { 0 };

    if (hints & PLAIT_HINT_LOCAL)
        return syscall(SYS_mbind, base, size, LOCAL, NULL, 0ul, 0u) == 0;
    return syscall(SYS_get_mempolicy, NULL, nodes, (unsigned long)NODES_MAX, NULL, (unsigned long)MEMS_ALLOWED) == 0 &&
           syscall(SYS_mbind, base, size, INTERLEAVE, nodes, (unsigned long)NODES_MAX, 0u) == 0;
}

static void take_hints(struct plait__arena_header *h, uint64_t size, unsigned hints)
{
    unsigned taken = 0;

    if ((hints & PLAIT_HINT_HUGE_PAGES) && madvise(h, size, MADV_HUGEPAGE) == 0)
        taken |= PLAIT_HINT_HUGE_PAGES;
    if ((hints & (PLAIT_HINT_INTERLEAVE | PLAIT_HINT_LOCAL)) && place_on_nodes(h, size, hints))
        taken |= hints & (PLAIT_HINT_INTERLEAVE | PLAIT_HINT_LOCAL);
    store64_relaxed(&h->hints, (uint64_t)hints << 32 | taken); /* relaxed: before it is an arena */
}

/* Each mapping has its own. */
static void repeat_hints(struct plait__arena_header *h, uint64_t size)
{
    if (load64_relaxed(&h->hints) & PLAIT_HINT_HUGE_PAGES)
        madvise(h, size, MADV_HUGEPAGE);
}

bool plait__open_hints_are_good(unsigned hints)
{
    return hints < PLAIT_HINT_LOCAL << 1 && (hints & (PLAIT_HINT_INTERLEAVE | PLAIT_HINT_LOCAL)) !=
                                                (PLAIT_HINT_INTERLEAVE | PLAIT_HINT_LOCAL);
}

/* Make an arena in a file of no length. */
static int build_in_file(const struct plait_arena_opts *opts, struct plait_arena *out, uint32_t flags)
{
    uint32_t participants;
    uint64_t limit;
    int err = sizes(opts, &limit, &participants);

    if (err)
        return err;
    if (!may_be_as_large(limit))
        return ENOSPC;
    if (ftruncate(out->fd, 0) != 0 || ftruncate(out->fd, (off_t)limit) != 0)
        return system_error();
    err = plait__open_reserve(out->fd, 0, page_round(plait__heap_offset(participants) + 1));
    if (err)
        return err;
    out->limit = limit;
    err = map(out);
    if (err)
        return err;
    take_hints(out->base, limit, opts->hints);
    out->base->quota = opts->quota;
    out->base->reserved = page_round(plait__heap_offset(participants) + 1);
    out->id = draw_id(flags & PLAIT__ARENA_ANONYMOUS ? out->fd : -1);
    plait__header_build(out->base, limit, participants, flags, out->id);
    return 0;
}

/* Map what is in the file and verify it. */
static int attach(struct plait_arena *out)
{
    struct stat st;
    int err;

    if (fstat(out->fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct plait__arena_header))
        return EBADMSG;
    out->limit = (size_t)st.st_size;
    err = map(out);
    if (err)
        return err;
    err = plait__header_verify(out->base, out->limit);
    out->id = out->base->id;
    if (err == 0)
        repeat_hints(out->base, out->limit);
    return err;
}

/* Nobody uses the file: is it one of ours, to be made afresh, or something else, to be left alone? */
static int look_at_leftover(int fd, bool *exists_out)
{
    uint64_t magic = 0;
    struct stat st;

    *exists_out = false;
    if (fstat(fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EBADMSG;
    if (st.st_size == 0)
        return 0;
    if (st.st_size < (off_t)sizeof(struct plait__arena_header) || pread(fd, &magic, sizeof magic, 0) != sizeof magic)
        return EBADMSG;
    if (magic == 0) /* killed before it was finished */
        return 0;
    *exists_out = true;
    return magic == PLAIT__ARENA_MAGIC ? 0 : EBADMSG;
}

/* A leftover is thrown away only if it is a sound arena; where its users ran does not matter any more. */
static int verify_leftover(struct plait_arena *out)
{
    struct stat st;
    int err;

    if (fstat(out->fd, &st) != 0)
        return errno;
    out->limit = (size_t)st.st_size;
    err = map(out);
    if (err)
        return err;
    err = plait__header_is_sound(out->base, out->limit) ? 0 : EBADMSG;
    munmap(out->base, out->limit);
    out->base = NULL;
    return err;
}

static mode_t mode_of(const struct plait_arena_opts *opts)
{
    return opts->mode ? opts->mode & 0777 : 0600;
}

/*
 * A file that is made an arena gets exactly the permissions asked for, whatever the umask or a former user left. One that
 * somebody else has laid there could be read by him: only if the arena is open to others anyhow.
 */
static int claim_file(const struct plait_arena_opts *opts, int fd, const struct stat *st)
{
    mode_t mode = mode_of(opts);

    if (st->st_uid != geteuid() && !(mode & 066))
        return EACCES;
    if ((st->st_mode & 0777) != mode && fchmod(fd, mode) != 0)
        return EACCES;
    return 0;
}

/* Behind the door. EAGAIN: the name is another file's by now. */
static int enter(const struct plait_arena_opts *opts, struct plait_arena *out)
{
    bool left_over;
    struct stat st;
    int err;

    if (fstat(out->fd, &st) != 0)
        return errno;
    if (st.st_nlink == 0)
        return EAGAIN;
    if (!plait__door_is_alone(out->fd)) {
        err = plait__door_join(out->fd);
        if (err)
            return err;
        err = attach(out);
        return err == 0 && opts->open == PLAIT_CREATE ? EEXIST : err;
    }
    err = look_at_leftover(out->fd, &left_over);
    if (err == 0 && left_over)
        err = verify_leftover(out);
    if (err)
        return err;
    if ((left_over || opts->open == PLAIT_OPEN) && shm_unlink(out->name) == 0)
        return opts->open == PLAIT_OPEN ? ENOENT : EAGAIN;
    if (opts->open == PLAIT_OPEN)
        return ENOENT;
    err = claim_file(opts, out->fd, &st);
    if (err)
        return err;
    err = build_in_file(opts, out, 0);
    if (err)
        shm_unlink(out->name);
    else
        err = plait__door_join(out->fd);
    return err;
}

static void close_quietly(struct plait_arena *a)
{
    if (a->base && a->kind != PLAIT__ARENA_OWN_MEMORY)
        munmap(a->base, a->limit);
    if (a->fd >= 0)
        close(a->fd);
    a->base = NULL;
    a->fd = -1;
}

int plait__arena_file_name(const char *name, char **file_out)
{
    size_t length = name ? strlen(name) : 0;

    if (length == 0 || length > NAME_MAX_LENGTH || strchr(name, '/'))
        return EINVAL;
    *file_out = malloc(length + sizeof "/plait.");
    if (!*file_out)
        return ENOMEM;
    sprintf(*file_out, "/plait.%s", name);
    return 0;
}

/*
 * Open the file, else make it. First without O_CREAT: with it, the kernel refuses a file of another user's in /dev/shm
 * (fs.protected_regular), however open its permissions.
 */
static int open_file(const struct plait_arena_opts *opts, struct plait_arena *out)
{
    for (;;) {
        out->fd = shm_open(out->name, O_RDWR | O_CLOEXEC, 0);
        if (out->fd >= 0)
            return 0;
        if (errno != ENOENT || opts->open == PLAIT_OPEN)
            return errno;
        out->fd = shm_open(out->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode_of(opts));
        if (out->fd >= 0)
            return 0;
        if (errno != EEXIST)
            return errno;
    }
}

int plait__open_named(const struct plait_arena_opts *opts, struct plait_arena *out)
{
    int err = plait__arena_file_name(opts->name, &out->name);

    if (err)
        return err;
    do {
        err = open_file(opts, out);
        if (err)
            break;
        err = plait__door_enter(out->fd);
        if (err == 0)
            err = enter(opts, out);
        if (err == 0)
            plait__door_close(out->fd);
        else
            close_quietly(out);
    } while (err == EAGAIN);
    if (err) {
        free(out->name);
        out->name = NULL;
    }
    return err;
}

int plait__open_leftover(const char *file, struct plait_arena *out)
{
    bool is_arena = false;
    struct stat st;
    int err;

    *out = (struct plait_arena){ .fd = shm_open(file, O_RDWR | O_CLOEXEC | O_NONBLOCK, 0), .child_fd = -1,
                                 .kind = PLAIT__ARENA_NAMED };
    if (out->fd < 0)
        return errno;
    err = plait__door_enter(out->fd);
    if (err == 0)
        err = fstat(out->fd, &st) != 0 ? errno : st.st_nlink == 0 ? ENOENT : 0;
    if (err == 0 && !plait__door_is_alone(out->fd))
        err = EBUSY;
    if (err == 0)
        err = look_at_leftover(out->fd, &is_arena);
    if (err == 0)
        err = is_arena ? verify_leftover(out) : EBADMSG;
    if (err)
        close_quietly(out);
    return err;
}

int plait__open_anonymous(const struct plait_arena_opts *opts, struct plait_arena *out)
{
    int err;

    out->fd = memfd_create("plait", MFD_CLOEXEC);
    if (out->fd < 0)
        return errno;
    err = build_in_file(opts, out, PLAIT__ARENA_ANONYMOUS);
    if (err)
        close_quietly(out);
    return err;
}

int plait__open_fd(int fd, struct plait_arena *out)
{
    int err;

    out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (out->fd < 0)
        return errno;
    err = attach(out);
    if (err)
        close_quietly(out);
    return err;
}

/* What stands for the magic while somebody makes it: libcs that look for the lock in different places do not meet here. */
static uint64_t making_magic(void)
{
    return PLAIT__ARENA_MAKING ^ (uint32_t)plait__robust_layout();
}

/* Memory that is zero at its start becomes one that is being made (E3). EBADMSG: there is something else in it. */
static int announce_making(struct plait__arena_header *h)
{
    static const struct plait__arena_header zero;
    uint64_t none = 0;

    if (load64_acquire(&h->magic) != 0)
        return 0;
    if (memcmp(h, &zero, sizeof zero) != 0) /* or has somebody begun meanwhile? An exchange, as a load could come before */
        return cas64_acqrel(&h->magic, &none, 0) ? EBADMSG : 0;
    cas64_acqrel(&h->magic, &none, making_magic()); /* E3 */
    return 0;
}

/* One of those who found it being made does it; who follows a dead one begins anew. EBUSY: somebody is at it. */
static int make_in_memory(struct plait__arena_header *h, uint64_t size, uint32_t participants, const struct plait_arena_opts *opts)
{
    uint32_t owner;
    bool was_dead;
    int err;

    /* The same from everybody, so that a lock of zeros becomes one. Released: after the magic (E3). */
    store_release(&h->making.mode, PLAIT_SHARED | (plait__robust_list_works() ? 0 : PLAIT__LOCK_NO_LIST));
    store64_release(&h->making.arena_offset, offsetof(struct plait__arena_header, making));
    owner = h->making.mode & PLAIT__LOCK_NO_LIST ? plait__robust_owner(&h->making) : 0;
    err = plait__robust_claim(&h->making, owner && plait__thread_is_dead(owner, 0) ? owner : 0, &was_dead);
    if (err)
        return err;
    if (load64_acquire(&h->magic) == making_magic()) {
        memset(&h->version, 0, offsetof(struct plait__arena_header, making) - offsetof(struct plait__arena_header, version));
        memset(plait__slot_at(h, 0), 0, participants * sizeof(struct plait__slot));
        h->reserved = size;
        take_hints(h, size, opts->hints);
        h->quota = opts->quota;
        plait__header_build(h, size, participants, 0, draw_id(-1));
    }
    plait__robust_resign(&h->making);
    return 0;
}

int plait__open_memory(const struct plait_arena_opts *opts, struct plait_arena *out)
{
    struct plait__arena_header *h = opts->memory;
    uint32_t participants = opts->participants ? opts->participants : DEFAULT_PARTICIPANTS;
    uint64_t size = opts->memory_size;
    int err;

    if ((uintptr_t)h % (uintptr_t)sysconf(_SC_PAGESIZE) || size < MEMORY_MIN || size != page_round(size))
        return EINVAL;
    out->fd = -1;
    out->base = h;
    out->limit = size;
    if (load64_acquire(&h->magic) != PLAIT__ARENA_MAGIC &&
        (participants > 32768 || plait__heap_offset(participants) + 4096 > size))
        return EINVAL;
    err = announce_making(h);
    if (err == 0 && load64_acquire(&h->magic) == making_magic())
        err = make_in_memory(h, size, participants, opts);
    if (err)
        return err;
    out->id = h->id;
    return plait__header_verify(h, size);
}

void plait__open_drop(struct plait_arena *a)
{
    close_quietly(a);
    free(a->name);
    a->name = NULL;
}

void plait__open_unmap(struct plait_arena *a)
{
    if (a->base && a->kind != PLAIT__ARENA_OWN_MEMORY)
        munmap(a->base, a->limit);
    a->base = NULL;
    free(a->name);
    a->name = NULL;
}

bool plait__open_is_ours(const struct plait_arena *a)
{
    struct stat st;

    return a->fd >= 0 && fstat(a->fd, &st) == 0 && st.st_dev == a->device && st.st_ino == a->inode;
}
