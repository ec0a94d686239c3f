/* SPDX-License-Identifier: MIT */
/*
 * How it works: who is killed so gets SIGKILL as from anybody, and nothing else says why; but the kernel counts. Of our own memory control
 * group it counts those that were in it (in version 2, or below it); where none is shown to us (the files of another place, or none), those of the
 * whole machine. So who sees a process die of SIGKILL, and this number grow meanwhile, has good reason to put one down to the other.
 *
 *     version 2   /proc/self/cgroup "0::PATH"          /sys/fs/cgroup PATH /memory.events
 *     version 1   /proc/self/cgroup "N:memory:PATH"    /sys/fs/cgroup/memory PATH /memory.oom_control
 *     neither     /proc/vmstat
 *
 * each with a line "oom_kill COUNT". In a container PATH may be the one outside; then its own group is at the top.
 */
#include "exec/oom.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096 + 64 }; /* with a path in it */

/* The count in that file; false: there is none. */
static bool read_count(const char *root, const char *top, const char *path, const char *file, uint64_t *count_out)
{
    static const char key[] = "oom_kill ";
    char line[LINE];
    bool found = false;
    FILE *f;

    if (snprintf(line, sizeof line, "%s%s%s/%s", root, top, path, file) >= (int)sizeof line)
        return false;
    f = fopen(line, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        found = strncmp(line, key, sizeof key - 1) == 0;
        if (found)
            *count_out = strtoull(line + sizeof key - 1, NULL, 10);
    }
    if (f)
        fclose(f);
    return found;
}

static bool read_group(const char *root, const char *top, const char *path, const char *file, uint64_t *count_out)
{
    return read_count(root, top, strcmp(path, "/") == 0 ? "" : path, file, count_out) || read_count(root, top, "", file, count_out);
}

/* One line of /proc/self/cgroup: NUMBER:CONTROLLERS:PATH. */
static bool read_member(const char *root, char *line, uint64_t *count_out)
{
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

    if (!path)
        return false;
    *controllers++ = *path++ = '\0';
    if (controllers[0] == '\0')
        return read_group(root, "/sys/fs/cgroup", path, "memory.events", count_out);
    for (char *rest = controllers, *one; (one = strsep(&rest, ",")) != NULL;)
        if (strcmp(one, "memory") == 0)
            return read_group(root, "/sys/fs/cgroup/memory", path, "memory.oom_control", count_out);
    return false;
}

uint64_t plait__oom_kills(const char *root)
{
    char line[LINE];
    uint64_t count = 0;
    bool found = false;
    FILE *f;

    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    f = fopen(line, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        found = read_member(root, line, &count);
    }
    if (f)
        fclose(f);
    return found || read_count(root, "/proc", "", "vmstat", &count) ? count : 0;
}
