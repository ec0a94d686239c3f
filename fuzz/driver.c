/* SPDX-License-Identifier: MIT */
/*
 * Damaged arenas without libFuzzer.
 *
 *     damaged_arena                                      the test of make check: seeds, what was found, a few hundred more
 *     damaged_arena -n COUNT [-s SEED] [-f FIRST] [-l]   inputs made up from a seed; -l: late damage too
 *     damaged_arena [-v] FILE...                         these inputs; folders: all that is in them; -v: say all calls
 *     damaged_arena -p SEED NUMBER                       such an input, to the standard output
 *     -j JOBS: at a time; -o FOLDER: for inputs that fail
 *
 * How it works: children work through the inputs, one in so many each. Input and call stand in shared memory; who crashes, or
 * stays in a call, is replaced by another one that goes on behind that input, which is kept in FOLDER with what was said. The
 * same seed gives the same inputs, one by one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/races.h"
#include "fuzz/damaged_arena.h"
#include "fuzz/image.h"

enum { INPUT_MAX = 4096, JOBS_MAX = 16, RETIRED = 9, BATCH = 400, IN_CHECK = 400, SKIPPED = 77 };

struct job {
    pid_t pid;
    uint64_t next, calls;
    int64_t seen, stayed; /* when it was looked at last; how long it has been in this call by then */
};

static uint64_t seed = 1, first, count = IN_CHECK;
static unsigned jobs = 1;
static const char *folder = "fuzz-failures";
static char **files;
static struct fuzz_progress *progress; /* one of each job */
static unsigned failures;

/* What sanitizers do here: tell where it was on SIGABRT too; memory that is asked for in vain is an answer. */
const char *__asan_default_options(void) __attribute__((visibility("default")));
const char *__asan_default_options(void)
{
    return "handle_abort=1:detect_leaks=0:allocator_may_return_null=1";
}

const char *__ubsan_default_options(void) __attribute__((visibility("default")));
const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}

/* ---- Inputs ------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t mixed(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t draw(void)
{
    return mixed(random_state += 0x9e3779b97f4a7c15u);
}

/* Most have a few damages, all of them before the arena is opened; some have many, or late ones. */
static size_t make_up(uint64_t number, unsigned char *input)
{
    unsigned damages = 1, late, together;
    size_t size = 0;

    random_state = mixed(mixed(seed) + number);
    while (damages < 40 && draw() % 5)
        damages++;
    input[size++] = (unsigned char)draw();
    input[size++] = (unsigned char)draw();
    input[size++] = (unsigned char)draw();
    together = draw() % 3 == 0; /* all in one place */
    late = draw() % 2 == 0;
    for (unsigned i = 0; i < damages; i++) {
        uint64_t bits = draw();

        memcpy(input + size, &bits, 6);
        if (together)
            input[size] = input[3];
        input[size + 5] = fuzz_late && late ? input[size + 5] : input[size + 5] % LATE;
        size += 6;
    }
    return size;
}

static size_t read_file(const char *path, unsigned char *input)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, input, INPUT_MAX);

    if (fd >= 0)
        close(fd);
    if (size < 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return size < 0 ? 0 : (size_t)size;
}

static size_t get_input(uint64_t number, unsigned char *input)
{
    return files ? read_file(files[number], input) : make_up(number, input);
}

/* ---- Children ----------------------------------------------------------------------------- */

static void log_path(unsigned job, char *path, size_t size)
{
    snprintf(path, size, "%s/job-%u", folder, job);
}

/* Inputs number next, next + jobs, and so on. */
static void work(unsigned job, uint64_t next)
{
    unsigned char input[INPUT_MAX];
    char path[256];
    int fd;

    log_path(job, path, sizeof path);
    fd = fuzz_talks ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
    fuzz_progress = &progress[job];
    for (unsigned done = 0; next < count; done++, next += jobs) {
        fuzz_progress->input = next;
        if (!fuzz_one(input, get_input(next, input)) || done == BATCH)
            _exit(RETIRED);
    }
    _exit(0);
}

static void start(struct job *job, unsigned number)
{
    progress[number].call = NULL;
    progress[number].input = job->next;
    job->calls = progress[number].calls;
    job->seen = plait_now();
    job->stayed = 0;
    job->pid = fork();
    if (job->pid == 0)
        work(number, job->next);
}

static void keep(unsigned job, uint64_t number)
{
    unsigned char input[INPUT_MAX];
    size_t size = get_input(number, input);
    char from[256], to[300];
    FILE *file;

    snprintf(to, sizeof to, "%s/%llu-%llu", folder, (unsigned long long)seed, (unsigned long long)number);
    file = fopen(to, "w");
    if (file) {
        fwrite(input, 1, size, file);
        fclose(file);
    }
    strcat(to, ".txt");
    log_path(job, from, sizeof from);
    rename(from, to);
}

static void fail(unsigned job, const char *what, int status)
{
    uint64_t number = progress[job].input;

    failures++;
    if (files)
        printf("FAILED: %s", files[number]);
    else
        printf("FAILED: input %llu of seed %llu", (unsigned long long)number, (unsigned long long)seed);
    printf(": %s%d in %s\n", what, status, progress[job].call ? progress[job].call : "no call");
    fflush(stdout);
    keep(job, number);
}

/* A child has ended: what is left to do is for the next one. True: there is something. */
static bool ended(struct job *job, unsigned number, int status)
{
    job->next = progress[number].input + jobs;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != RETIRED)
        fail(number, WIFSIGNALED(status) ? "signal " : "exit ",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return job->next < count;
}

static int64_t patience(void)
{
    const char *seconds = getenv("FUZZ_CALL_SECONDS");

    return ((seconds ? atoi(seconds) : 10) + 1) * PLAIT__SECOND;
}

/* It stays in a call: the sanitizer tells where, on SIGABRT. */
static void watch(struct job *job, unsigned number)
{
    enum { LOOK = 50 * 1000 * 1000 }; /* who does not come to look for longer is short of time, and so is the child */
    int64_t now = plait_now();

    job->stayed += now - job->seen < LOOK ? now - job->seen : LOOK;
    job->seen = now;
    if (job->calls != progress[number].calls) {
        job->calls = progress[number].calls;
        job->stayed = 0;
    } else if (job->stayed > patience()) {
        kill(job->pid, SIGABRT);
        job->stayed = 0;
    }
}

static void run(void)
{
    struct job running[JOBS_MAX] = { 0 };
    unsigned alive = 0;

    for (unsigned i = 0; i < jobs && i < count; i++, alive++) {
        running[i].next = first + i;
        start(&running[i], i);
    }
    while (alive) {
        for (unsigned i = 0; i < jobs; i++) {
            int status;

            if (!running[i].pid)
                continue;
            watch(&running[i], i);
            if (waitpid(running[i].pid, &status, WNOHANG) != running[i].pid)
                continue;
            running[i].pid = 0;
            if (ended(&running[i], i, status))
                start(&running[i], i);
            else
                alive--;
        }
        usleep(2000);
    }
}

/* ---- Command line ------------------------------------------------------------------------- */

static void add_file(const char *path)
{
    files = realloc(files, (count + 1) * sizeof *files);
    files[count++] = strdup(path);
}

static void add(const char *path)
{
    struct dirent **entries;
    char file[4096];
    int n = scandir(path, &entries, NULL, alphasort);

    if (n < 0)
        add_file(path);
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            add_file(file);
    }
}

/* All inputs that there are now. True: none failed. */
static bool run_all(void)
{
    unsigned before = failures;

    run();
    printf("%llu damaged arenas, %u failures\n", (unsigned long long)(count - (files ? 0 : first)), failures - before);
    return failures == before;
}

/* What make check does. */
static bool check(void)
{
    const char *source = getenv("srcdir");
    char path[4096];
    bool good = run_all();

    count = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/fuzz/%s", source ? source : ".", i ? "found" : "seeds");
        add(path);
    }
    return run_all() && good;
}

static void clean_up(void)
{
    char path[256];

    for (unsigned i = 0; i < jobs; i++) {
        log_path(i, path, sizeof path);
        unlink(path);
    }
    rmdir(folder); /* unless there is something in it */
}

/* What cannot be done there, or says nothing. */
static bool is_skipped(void)
{
    const char *emulator = getenv("TEST_EMULATOR");

#ifdef PLAIT_UNDER_TSAN
    return true;
#endif
    return emulator && *emulator;
}

static int print(uint64_t number)
{
    unsigned char input[INPUT_MAX];
    size_t size = make_up(number, input);

    return fwrite(input, 1, size, stdout) == size ? 0 : 1;
}

int main(int argc, char **argv)
{
    bool only_print = false, talks = false, good;
    int option;

    while ((option = getopt(argc, argv, "s:f:n:j:o:p:vl")) != -1) {
        switch (option) {
        case 's': seed = strtoull(optarg, NULL, 0); break;
        case 'f': first = strtoull(optarg, NULL, 0); break;
        case 'n': count = strtoull(optarg, NULL, 0); break;
        case 'j': jobs = (unsigned)atoi(optarg); break;
        case 'o': folder = optarg; break;
        case 'l': fuzz_late = true; break;
        case 'v': talks = true; break;
        case 'p': seed = strtoull(optarg, NULL, 0); only_print = true; break;
        default: return 2;
        }
    }
    if (is_skipped())
        return SKIPPED;
    if (only_print)
        return optind < argc ? print(strtoull(argv[optind], NULL, 0)) : 2;
    if (optind < argc) {
        count = 0;
        for (int i = optind; i < argc; i++)
            add(argv[i]);
    }
    jobs = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs;
    count += files ? 0 : first;
    mkdir(folder, 0700);
    progress = mmap(NULL, JOBS_MAX * sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED || !images_make())
        return 2;
    fuzz_talks = talks;
    good = argc > 1 ? run_all() : check();
    clean_up();
    return good ? 0 : 1;
}
