/* SPDX-License-Identifier: MIT */
/* CPU count: how many CPUs this process may keep busy. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/init.h>

/*
 * How it works
 *
 * The answer is the smaller of two numbers: the CPUs in the affinity mask, and the CPU time that the control
 * groups grant in each period, rounded up. A quota may stand in the process's own group or in any above it, so
 * the walk goes from /proc/self/cgroup's folder up to the mount point:
 *
 *     version 2   cpu.max             "max 100000" or "50000 100000"
 *     version 1   cpu.cfs_quota_us    -1 or 50000, and cpu.cfs_period_us
 *
 * /proc/self/mountinfo says where a hierarchy is mounted, and which of its folders shows there (its "root", not
 * "/" in a container that shares the host's hierarchy). A file that is missing or unreadable means no quota.
 */

static unsigned count_affinity(void)
{
    for (unsigned cpus = 1024; cpus <= 1u << 20; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t size = CPU_ALLOC_SIZE(cpus);
        unsigned count = 0;
        int err = ENOMEM;

        if (set) {
            err = sched_getaffinity(0, size, set) == 0 ? 0 : errno;
            if (err == 0)
                count = (unsigned)CPU_COUNT_S(size, set);
            CPU_FREE(set);
        }
        if (err == 0)
            return count;
        if (err != EINVAL) /* EINVAL: the kernel's mask is longer than ours */
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

/* Read up to two numbers from folder/file; "max" and what is missing count as -1. How many lines there were: 0 or 1. */
static bool read_numbers(const char *folder, const char *file, long long *first, long long *second)
{
    char path[2 * PATH_MAX];
    char line[64] = "";
    FILE *f;

    *first = -1;
    if (second)
        *second = -1;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    if (got && strncmp(line, "max", 3) != 0)
        sscanf(line, "%lld %lld", first, second ? second : first);
    return got;
}

/* CPUs granted by the folder of one control group, UINT_MAX if unlimited. */
static unsigned folder_quota(const char *folder, bool version2)
{
    long long quota, period;

    if (version2)
        read_numbers(folder, "cpu.max", &quota, &period);
    else if (read_numbers(folder, "cpu.cfs_quota_us", &quota, NULL))
        read_numbers(folder, "cpu.cfs_period_us", &period, NULL);
    if (quota <= 0 || period <= 0)
        return UINT_MAX;
    long long cpus = (quota + period - 1) / period;
    return cpus >= UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

/* The smallest quota from mount/path up to mount itself. */
static unsigned walk_up(const char *mount, const char *path, bool version2)
{
    char folder[PATH_MAX];
    size_t top = strlen(mount);
    unsigned least = UINT_MAX;

    if (snprintf(folder, sizeof folder, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path) >= (int)sizeof folder)
        return UINT_MAX;
    for (;;) {
        unsigned quota = folder_quota(folder, version2);
        char *slash = strrchr(folder, '/');

        if (quota < least)
            least = quota;
        if (strlen(folder) <= top || !slash)
            return least;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

/*
 * Find where the hierarchy (of version 2, or of version 1 with the cpu controller) is mounted, and walk up from the
 * group `path`. The fields of a line: id parent device root mountpoint options tags... - type source super-options.
 */
static unsigned hierarchy_quota(const char *path, bool version2)
{
    char *line = NULL;
    size_t size = 0;
    unsigned least = UINT_MAX;
    FILE *f = fopen("/proc/self/mountinfo", "re");

    while (f && getline(&line, &size, f) > 0) {
        char root[PATH_MAX], mount[PATH_MAX], type[64], super[PATH_MAX] = "";
        const char *rest = strstr(line, " - ");

        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 ||
            sscanf(rest, " - %63s %*s %4095s", type, super) < 1)
            continue;
        if (strcmp(type, version2 ? "cgroup2" : "cgroup") != 0 || (!version2 && !has_word(super, "cpu")))
            continue;
        size_t above = strcmp(root, "/") == 0 ? 0 : strlen(root);
        bool below_root = strncmp(path, root, above) == 0 && (path[above] == '/' || path[above] == '\0' || above == 0);
        least = walk_up(mount, below_root ? path + above : "", version2);
        break;
    }
    free(line);
    if (f)
        fclose(f);
    return least;
}

/* Lines of /proc/self/cgroup: "0::/path" for version 2, "4:cpu,cpuacct:/path" for version 1. */
static unsigned count_quota(void)
{
    char *line = NULL;
    size_t size = 0;
    unsigned least = UINT_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f && getline(&line, &size, f) > 0) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        unsigned quota;

        if (!path)
            continue;
        *controllers++ = '\0';
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool version2 = strcmp(line, "0") == 0 && *controllers == '\0';
        if (!version2 && !has_word(controllers, "cpu"))
            continue;
        quota = hierarchy_quota(path, version2);
        if (quota < least)
            least = quota;
    }
    free(line);
    if (f)
        fclose(f);
    return least;
}

unsigned plait_cpu_count(void)
{
    unsigned cpus = count_affinity();
    unsigned quota = count_quota();

    if (quota < cpus)
        cpus = quota;
    return cpus ? cpus : 1;
}
