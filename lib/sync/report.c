/* SPDX-License-Identifier: MIT */
/*
 * Reports of debug mode, in words. How it works: the text is put together in memory from the system, in a buffer of a fixed size;
 * what does not fit is cut off. Each module that is named in it is told with its file and build-id at the end.
 */
#include "sync/debug.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/place.h"
#include "wait/robust.h"

enum { TEXT_SIZE = 16384, MODULES_MAX = 8 };

struct text {
    size_t used;
    char bytes[TEXT_SIZE];
    bool lines;                 /* name source lines */
    struct plait__place place;  /* the one being told: too big for a stack */
    unsigned module_count;
    struct module {
        char path[256];
        char build_id[2 * PLAIT__BUILD_ID_MAX + 1];
    } modules[MODULES_MAX];     /* those told so far */
};

/* Set by the program at any time: read as a pair under a lock that is held for two loads. */
static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static plait_debug_handler_fn *handler;
static void *handler_arg;

void plait_debug_set_handler(plait_debug_handler_fn *new_handler, void *arg)
{
    pthread_mutex_lock(&handler_lock);
    handler = new_handler;
    handler_arg = arg;
    pthread_mutex_unlock(&handler_lock);
}

static PLAIT_PRINTF(2, 3) void add(struct text *t, const char *format, ...)
{
    va_list list;
    int n;

    va_start(list, format);
    n = vsnprintf(t->bytes + t->used, sizeof t->bytes - t->used, format, list);
    va_end(list);
    if (n > 0)
        t->used += (size_t)n < sizeof t->bytes - t->used ? (size_t)n : sizeof t->bytes - t->used - 1;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Note the module of t->place for the end. */
static void note_module(struct text *t)
{
    const struct plait__module *m = &t->place.in.module;
    struct module *noted = &t->modules[t->module_count];

    for (unsigned i = 0; i < t->module_count; i++)
        if (strncmp(t->modules[i].path, t->place.path, sizeof t->modules[i].path - 1) == 0)
            return;
    if (t->module_count == MODULES_MAX)
        return;
    snprintf(noted->path, sizeof noted->path, "%.*s", (int)sizeof noted->path - 1, t->place.path);
    for (unsigned i = 0; i < m->build_id_size; i++)
        snprintf(noted->build_id + 2 * (size_t)i, 3, "%02x", m->build_id[i]);
    t->module_count++;
}

/* Where a call was made: the instruction before the one it returns to. */
static void add_place(struct text *t, const void *place)
{
    char line[128] = "";

    if (!place || plait__place_of((const char *)place - 1, &t->place) != 0) {
        add(t, " at %p", place);
        return;
    }
    note_module(t);
    if (t->place.symbol[0])
        add(t, " in %s+0x%llx", t->place.symbol, (unsigned long long)t->place.distance + 1);
    else
        add(t, " at %p", place);
    if (t->lines)
        plait__place_line(&t->place, line, sizeof line);
    if (line[0])
        add(t, ", %s", line);
    add(t, " (%s+0x%llx)", last_part(t->place.path), (unsigned long long)t->place.in.offset);
}

/* "lock 0x55d0 (accounts+0x30)". */
static void add_object(struct text *t, const char *noun, const void *object)
{
    add(t, "%s %p", noun, object);
    if (plait__place_of(object, &t->place) != 0 || !t->place.symbol[0])
        return;
    if (t->place.distance)
        add(t, " (%s+0x%llx)", t->place.symbol, (unsigned long long)t->place.distance);
    else
        add(t, " (%s)", t->place.symbol);
}

/* The kernel's name of a thread, of this process or of another. */
static void add_thread(struct text *t, uint32_t tid)
{
    char path[64], name[64];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "/proc/%u/comm", tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, name, sizeof name - 1);
        close(fd);
    }
    if (n > 0) {
        name[n] = 0;
        name[strcspn(name, "\n")] = 0;
        add(t, "thread \"%s\" (%u)", name, tid);
    } else {
        add(t, "thread %u", tid);
    }
}

static void add_step(struct text *t, const struct plait__order_step *step, const char *holds, const char *acquires)
{
    add(t, "      %s ", holds);
    add_object(t, step->from_noun, step->from);
    add(t, ", acquired");
    add_place(t, step->from_place);
    add(t, "\n      %s ", acquires);
    add_object(t, step->to_noun, step->to);
    add_place(t, step->to_place);
    add(t, "\n");
}

static void add_order(struct text *t, const struct plait__order_cycle *cycle)
{
    unsigned known = cycle->count < PLAIT__CYCLE_MAX ? cycle->count : PLAIT__CYCLE_MAX;

    add(t, " acquires ");
    add_object(t, cycle->steps[0].to_noun, cycle->steps[0].to);
    add(t, " and holds ");
    add_object(t, cycle->steps[0].from_noun, cycle->steps[0].from);
    add(t, ", which have been acquired in the other order: this can deadlock\n    now\n");
    add_step(t, &cycle->steps[0], "holds   ", "acquires");
    for (unsigned i = 1; i < known; i++) {
        add(t, "    before, thread \"%s\" (%u)\n", cycle->steps[i].thread, cycle->steps[i].tid);
        add_step(t, &cycle->steps[i], "held    ", "acquired");
    }
    if (known < cycle->count)
        add(t, "    and %u more\n", cycle->count - known);
}

static void add_since(struct text *t, const struct plait__debug_holder *holder)
{
    add(t, ", acquired");
    add_place(t, holder->place);
    add(t, " %.3f s ago\n", (double)(plait_now() - holder->since) / (double)PLAIT__SECOND);
}

static void add_holders(struct text *t, const struct plait__finding *f)
{
    for (unsigned i = 0; i < f->holder_count && i < PLAIT__HOLDERS_MAX; i++) {
        const struct plait__debug_holder *holder = &f->holders[i];

        add(t, "    held by ");
        add_thread(t, holder->tid);
        if (!holder->place) { /* another process's: this is all that is known */
            add(t, "\n");
            continue;
        }
        if (holder->gone)
            add(t, ", which has ended or is of the parent process");
        add_since(t, holder);
    }
    if (f->holder_count > PLAIT__HOLDERS_MAX)
        add(t, "    and %u more\n", f->holder_count - PLAIT__HOLDERS_MAX);
    if (f->holder_count == 0)
        add(t, "    nobody is known to hold it\n");
}

static void add_call(struct text *t, const char *sentence, const struct plait__finding *f)
{
    add(t, "%s", sentence);
    add_object(t, f->noun, f->object);
    add_place(t, f->place);
    add(t, "\n");
}

static void add_held(struct text *t, const struct plait__finding *f)
{
    add(t, " ends and holds\n");
    for (unsigned i = 0; i < f->holder_count && i < PLAIT__HOLDERS_MAX; i++) {
        add(t, "      ");
        add_object(t, f->holders[i].noun, f->holders[i].object);
        add_since(t, &f->holders[i]);
    }
    if (f->holder_count > PLAIT__HOLDERS_MAX)
        add(t, "      and %u more\n", f->holder_count - PLAIT__HOLDERS_MAX);
}

static void describe(struct text *t, const struct plait__finding *f)
{
    static const char *const names[] = {
        [PLAIT_DEBUG_ORDER] = "lock order",       [PLAIT_DEBUG_SELF] = "self-deadlock",
        [PLAIT_DEBUG_STRANGER] = "not the holder", [PLAIT_DEBUG_WAIT] = "long wait",
        [PLAIT_DEBUG_EXIT] = "held at the end of a thread",
    };

    add(t, "plait: %s: ", names[f->kind]);
    if (f->kind != PLAIT_DEBUG_EXIT)
        add(t, "%s: ", f->function);
    add_thread(t, plait__robust_tid());
    switch (f->kind) {
    case PLAIT_DEBUG_ORDER:
        add_order(t, &f->cycle);
        break;
    case PLAIT_DEBUG_SELF:
        add_call(t, " would wait for itself: it holds ", f);
        add_holders(t, f);
        break;
    case PLAIT_DEBUG_STRANGER:
        add_call(t, " does not hold ", f);
        add_holders(t, f);
        break;
    case PLAIT_DEBUG_WAIT:
        add(t, " has waited for %.3f s", (double)f->waited / (double)PLAIT__SECOND);
        add_call(t, " for ", f);
        add_holders(t, f);
        break;
    case PLAIT_DEBUG_EXIT:
        add_held(t, f);
        break;
    }
    for (unsigned i = 0; i < t->module_count; i++)
        add(t, "    %s is %s, build-id %s\n", last_part(t->modules[i].path), t->modules[i].path,
            t->modules[i].build_id[0] ? t->modules[i].build_id : "none");
}

static void print(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, size);

        if (n < 0 && errno != EINTR)
            return;
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
}

static void deliver(const struct plait__finding *f, const char *bytes)
{
    struct plait_debug_report report = { f->kind, bytes, f->function, f->object, f->place };
    plait_debug_handler_fn *call;
    void *arg;

    pthread_mutex_lock(&handler_lock);
    call = handler;
    arg = handler_arg;
    pthread_mutex_unlock(&handler_lock);
    if (call)
        call(&report, arg);
    else
        print(bytes, strlen(bytes));
}

void plait__report(const struct plait__finding *finding, const struct plait__debug_options *options)
{
    struct text *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int saved_errno = errno;
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    if (t == MAP_FAILED) {
        deliver(finding, "plait: a report of debug mode, but no memory for it\n");
    } else {
        t->lines = options->lines;
        describe(t, finding);
        deliver(finding, t->bytes);
        munmap(t, sizeof *t);
    }
    if (options->abort_always || (finding->fatal && !options->abort_never))
        abort();
    pthread_setcancelstate(state, NULL);
    errno = saved_errno;
}

/* ---- Options ---------------------------------------------------------------------------- */

static bool parse_one(const char *word, size_t length, struct plait__debug_options *o)
{
    static const char wait[] = "wait=";
    char *stop;
    double seconds;

    if (length > sizeof wait - 1 && strncmp(word, wait, sizeof wait - 1) == 0) {
        seconds = strtod(word + sizeof wait - 1, &stop);
        if (stop != word + length || !(seconds >= 0) || seconds > 1e9)
            return false;
        o->wait = (plait_time_t)(seconds * (double)PLAIT__SECOND);
        return true;
    }
#define IS(name) (length == sizeof name - 1 && strncmp(word, name, length) == 0)
    if (IS("lines"))
        o->lines = true;
    else if (IS("handover"))
        o->handover = true;
    else if (IS("abort"))
        o->abort_always = true;
    else if (IS("report"))
        o->abort_never = true;
    else if (IS("off"))
        o->off = true;
    else
        return false;
#undef IS
    return true;
}

bool plait__debug_parse(const char *text, struct plait__debug_options *options_out)
{
    *options_out = (struct plait__debug_options){ .wait = 10 * PLAIT__SECOND };
    while (text && *text) {
        size_t length = strcspn(text, ",");

        if (!parse_one(text, length, options_out))
            return false;
        text += length;
        text += *text == ',';
    }
    return !(options_out->abort_always && options_out->abort_never);
}

#ifdef PLAIT_DEBUG
#define UNASKED ""
#else
#define UNASKED "off"
#endif

static __attribute__((constructor)) void start_if_asked(void)
{
    const char *asked = secure_getenv("PLAIT_DEBUG");
    static const char bad[] = "plait: PLAIT_DEBUG is not as plait_debug(3) says: no debug mode\n";

    if (!asked)
        asked = UNASKED;
    if (strcmp(asked, "off") != 0 && plait_debug_start(asked) == EINVAL)
        print(bad, sizeof bad - 1);
}
