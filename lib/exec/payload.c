/* SPDX-License-Identifier: MIT */
/* Payload: what a newborn process is told, written to a memory file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exec/descriptors.h"
#include "exec/nursery_wire.h"


static size_t strings_size(char *const *strings, uint32_t *count_out)
{
    size_t size = 0;

    *count_out = 0;
    for (; strings && strings[*count_out]; ++*count_out)
        size += strlen(strings[*count_out]) + 1;
    return size;
}

static char *append_strings(char *at, char *const *strings, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        at = stpcpy(at, strings[i]) + 1;
    return at;
}

/* Everything but the argument, in one block. */
static int pack_head(const struct plait__spawn *spawn, struct plait__payload **head_out, size_t *size_out)
{
    char *const alone[] = { (char *)spawn->program, NULL };
    char *const *argv = spawn->argv ? spawn->argv : alone, *const *envp = spawn->envp ? spawn->envp : environ;
    struct plait__payload *head;
    uint32_t argc, envc;
    size_t program = spawn->program ? strlen(spawn->program) + 1 : 0;
    size_t numbers = spawn->fd_count * sizeof(int32_t);
    size_t size = sizeof *head + numbers + program + strings_size(argv, &argc) + strings_size(envp, &envc);

    size = (size + 15) & ~(size_t)15;
    head = calloc(1, size);
    if (!head)
        return ENOMEM;
    int32_t *number = (int32_t *)(head + 1);
    head->numbers_offset = sizeof *head;
    for (size_t i = 0; i < spawn->fd_count; i++)
        number[i] = spawn->fds[i].as ? spawn->fds[i].as : spawn->fds[i].fd;
    char *at = (char *)(head + 1) + numbers;
    head->program_offset = sizeof *head + numbers;
    if (program)
        at = stpcpy(at, spawn->program) + 1;
    head->argv_offset = (uint64_t)(at - (char *)head);
    head->argv_count = argc;
    at = append_strings(at, argv, argc);
    head->environ_offset = (uint64_t)(at - (char *)head);
    head->environ_count = envc;
    append_strings(at, envp, envc);
    head->arg_offset = size;
    head->arg_size = spawn->arg_size;
    if (spawn->name)
        strncpy(head->name, spawn->name, sizeof head->name - 1);
    *head_out = head;
    *size_out = size;
    return 0;
}

int plait__payload_pack(const struct plait__spawn *spawn, int *fd_out, uint64_t *size_out)
{
    struct plait__payload *head = NULL;
    size_t size = 0;
    int fd, err = pack_head(spawn, &head, &size);

    if (err)
        return err;
    if (spawn->target) {
        err = plait__function_of((const void *)(uintptr_t)spawn->target, &head->target);
        if (err)
            goto head;
    }
    fd = plait__move_from(memfd_create("plait-payload", MFD_CLOEXEC), 3);
    if (fd < 0) {
        err = errno;
        goto head;
    }
    err = plait__write_all(fd, head, size);
    if (err == 0)
        err = plait__write_all(fd, spawn->arg, spawn->arg_size);
    *fd_out = fd;
    *size_out = size + spawn->arg_size;
    if (err)
        close(fd);
head:
    free(head);
    return err;
}
