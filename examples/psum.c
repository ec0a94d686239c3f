/* SPDX-License-Identifier: MIT */
/*
 * psum - SHA-256 of every file under the given directories, on threads or on processes.
 *
 *     psum [--threads N | --processes N] [--stats] FILE-OR-DIRECTORY...
 *
 * N is 1 to 1024, 0 for the CPUs there are. The output is what sha256sum would print, in the order of the walk (names in
 * byte order), and what sha256sum -c reads. A bar on the terminal shows how far it is. What cannot be read is reported on standard
 * error, and the exit status is then 1; 2 for wrong usage. If a worker process is killed, its file is given to another one, twice at most.
 *
 * Build: cc psum.c $(pkg-config --cflags --libs plait libcrypto)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <plait.h>

enum { DIGEST_SIZE = 32, BUFFER_SIZE = 64 * 1024, AHEAD_PER_WORKER = 64, ATTEMPTS = 3, WORKERS_MAX = 1024 };

/* What is to be summed, in the order of the walk. */
struct file {
    char *path;
    off_t size;
};

static struct file *files;
static size_t file_count, file_room;
static off_t bytes_total;
static unsigned long long failures;
static plait_progress_t progress;
static plait_bar_t *bar, *bar_on_output; /* NULL: there is none; and none on the terminal to which the sums go */

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "psum: %s\n", strerror(ENOMEM));
        exit(1);
    }
    return memory;
}

static void report(const char *path, const char *reason)
{
    plait_bar_hide(bar);
    fprintf(stderr, "psum: %s: %s\n", path, reason);
    plait_bar_show(bar);
    failures++;
}

/* ---- the task: bytes of a path in, bytes of a digest out ---- */

static int sum_descriptor(plait_task_t *task, int fd, EVP_MD_CTX *context)
{
    unsigned char buffer[BUFFER_SIZE], digest[EVP_MAX_MD_SIZE];
    unsigned digest_size;
    ssize_t n;

    if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL))
        return plait_task_fail(task, EIO, "SHA-256 is not to be had");
    while ((n = read(fd, buffer, sizeof buffer)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return plait_task_fail(task, errno, "%s", strerror(errno));
        EVP_DigestUpdate(context, buffer, (size_t)n);
    }
    EVP_DigestFinal_ex(context, digest, &digest_size);
    return plait_task_return(task, digest, digest_size);
}

static int sum_file(plait_task_t *task, const void *path, size_t size)
{
    EVP_MD_CTX *context;
    int fd, err;

    (void)size;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return plait_task_fail(task, errno, "%s", strerror(errno));
    context = EVP_MD_CTX_new();
    err = context ? sum_descriptor(task, fd, context) : plait_task_fail(task, ENOMEM, "%s", strerror(ENOMEM));
    EVP_MD_CTX_free(context);
    close(fd);
    return err;
}

/* ---- the walk ---- */

static void add_file(char *path, off_t size)
{
    if (file_count == file_room) {
        file_room = file_room ? 2 * file_room : 1024;
        files = must(realloc(files, file_room * sizeof *files));
    }
    files[file_count++] = (struct file){ path, size };
    bytes_total += size;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Takes `path`. What is neither a file nor a directory is passed over, unless it was asked for by name. */
static void walk(char *path, bool asked_for)
{
    struct dirent **entries;
    struct stat st;
    int n;

    if ((asked_for ? stat(path, &st) : lstat(path, &st)) != 0) {
        report(path, strerror(errno));
    } else if (S_ISREG(st.st_mode) || (asked_for && !S_ISDIR(st.st_mode))) {
        add_file(path, st.st_size);
        return;
    } else if (S_ISDIR(st.st_mode)) {
        n = scandir(path, &entries, not_dots, by_bytes);
        if (n < 0)
            report(path, strerror(errno));
        for (int i = 0; i < n; i++) {
            size_t length = strlen(path), room = length + strlen(entries[i]->d_name) + 2;
            char *inner = must(malloc(room));

            snprintf(inner, room, length && path[length - 1] == '/' ? "%s%s" : "%s/%s", path, entries[i]->d_name);
            free(entries[i]);
            walk(inner, false);
        }
        if (n >= 0)
            free(entries);
    }
    free(path);
}

/* ---- output ---- */

/* As coreutils do: a name with a backslash, newline or carriage return is escaped, and its line begins with a backslash. */
static void print_sum(const unsigned char *digest, const char *path)
{
    bool escape = strpbrk(path, "\\\n\r") != NULL;

    plait_bar_hide(bar_on_output);
    if (escape)
        putchar('\\');
    for (int i = 0; i < DIGEST_SIZE; i++)
        printf("%02x", digest[i]);
    fputs("  ", stdout);
    for (const char *p = path; *p; p++)
        if (*p == '\n')
            fputs("\\n", stdout);
        else if (*p == '\r')
            fputs("\\r", stdout);
        else if (*p == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*p);
    putchar('\n');
    plait_bar_show(bar_on_output);
}

static void print_stats(plait_pool_t *pool, double seconds)
{
    struct plait_pool_stats all;
    struct plait_pool_worker one;

    plait_pool_stats(pool, &all);
    for (unsigned i = 0; plait_pool_worker(pool, i, &one) == 0; i++)
        fprintf(stderr, "worker %u: pid %d, %llu files, replaced %u times\n", i, (int)one.pid, one.done, one.restarts);
    fprintf(stderr, "%llu files, %.1f MB, %.2f s, %llu not read\n", all.done, (double)bytes_total / 1e6, seconds,
            failures);
}

/* ---- the run ---- */

static int submit(plait_pool_t *pool, size_t i, plait_future_t **future_out)
{
    return plait_pool_apply_async(pool, sum_file, files[i].path, strlen(files[i].path) + 1, future_out);
}

/* Wait for file i's sum and print it. A file whose worker was killed is given out again. */
static void collect(plait_pool_t *pool, size_t i, plait_future_t *future)
{
    const void *digest;
    size_t size;
    int err;

    for (int attempt = 1;; attempt++) {
        err = plait_future_get(future, &digest, &size, PLAIT_FOREVER);
        if (err != EOWNERDEAD || attempt == ATTEMPTS)
            break;
        plait_bar_hide(bar);
        fprintf(stderr, "psum: %s: %s; trying again\n", files[i].path, plait_future_error_text(future));
        plait_bar_show(bar);
        plait_future_free(future);
        err = submit(pool, i, &future);
        if (err) {
            report(files[i].path, plait_strerror(err));
            return;
        }
    }
    if (err)
        report(files[i].path, plait_future_error_text(future)[0] ? plait_future_error_text(future) : plait_strerror(err));
    else
        print_sum(digest, files[i].path);
    plait_future_free(future);
    plait_progress_advance(&progress, 1, (uint64_t)files[i].size);
}

/* Keep `ahead` files under way; collect them in order. */
static void sum_all(plait_pool_t *pool, size_t ahead)
{
    plait_future_t **under_way = must(calloc(ahead, sizeof *under_way));
    size_t next = 0;

    for (size_t i = 0; i < file_count; i++) {
        for (; next < file_count && next < i + ahead; next++) {
            int err = submit(pool, next, &under_way[next % ahead]);

            if (err) {
                report(files[next].path, plait_strerror(err));
                under_way[next % ahead] = NULL;
            }
        }
        if (!under_way[i % ahead])
            continue;
        /* To be woken for each of many short ones would take the workers' CPUs away from them. */
        if (!plait_future_is_ready(under_way[i % ahead]) && i + ahead / 2 < next && under_way[(i + ahead / 2) % ahead])
            plait_future_wait(under_way[(i + ahead / 2) % ahead], plait_after(0.02));
        collect(pool, i, under_way[i % ahead]);
    }
    free(under_way);
}

static int usage(void)
{
    fputs("usage: psum [--threads N | --processes N] [--stats] FILE-OR-DIRECTORY...\n", stderr);
    return 2;
}

static bool parse_workers(const char *text, unsigned *workers_out)
{
    char *end;
    unsigned long n;

    if (!text || text[0] < '0' || text[0] > '9')
        return false;
    n = strtoul(text, &end, 10);
    *workers_out = (unsigned)n;
    return *end == 0 && n <= WORKERS_MAX;
}

int main(int argc, char **argv)
{
    struct plait_pool_opts opts = { .name = "psum-worker" };
    bool stats = false;
    plait_time_t started;
    plait_pool_t *pool;
    int i, err;

    plait_init(&argc, &argv);
    for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "--stats") == 0)
            stats = true;
        else if (strcmp(argv[i], "--threads") == 0 && parse_workers(argv[i + 1], &opts.workers))
            opts.backend = PLAIT_THREADS, i++;
        else if (strcmp(argv[i], "--processes") == 0 && parse_workers(argv[i + 1], &opts.workers))
            opts.backend = PLAIT_PROCESSES, i++;
        else
            return usage();
    }
    if (i == argc)
        return usage();
    if (opts.workers == 0)
        opts.workers = plait_cpu_count();
    for (; i < argc; i++)
        walk(must(strdup(argv[i])), true);

    err = plait_pool_new(&pool, &opts);
    if (err) {
        fprintf(stderr, "psum: cannot start workers: %s\n", plait_strerror(err));
        return 1;
    }
    started = plait_now();
    plait_progress_init(&progress, file_count, (uint64_t)bytes_total, 0);
    plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .title = "psum", .items = "files", .units = "B" });
    bar_on_output = isatty(STDOUT_FILENO) ? bar : NULL;
    sum_all(pool, (size_t)opts.workers * AHEAD_PER_WORKER);
    plait_bar_free(bar);
    if (stats)
        print_stats(pool, (double)(plait_now() - started) / 1e9);
    plait_pool_close(pool);
    plait_pool_join(pool, PLAIT_FOREVER);
    plait_pool_free(pool);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "psum: standard output: %s\n", strerror(errno));
        return 1;
    }
    for (size_t f = 0; f < file_count; f++)
        free(files[f].path);
    free(files);
    return failures ? 1 : 0;
}
