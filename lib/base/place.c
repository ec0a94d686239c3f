/* SPDX-License-Identifier: MIT */
/*
 * How it works: the symbols of a module stand in its file, those of static functions too, unless it was stripped; then
 * those that it exports. The file is mapped, and nothing in it is believed: it may have been replaced since.
 *
 * Lines are asked from addr2line, in a process of its own that is waited for by its number.
 */
#include "base/place.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct file {
    const char *bytes;
    size_t size;
};

static bool map(const char *path, struct file *file_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *bytes = MAP_FAILED;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return false;
    *file_out = (struct file){ bytes, (size_t)st.st_size };
    return true;
}

/* `count` things of `size` bytes at `offset` of the file, or NULL. */
static const void *part(const struct file *file, uint64_t offset, uint64_t count, uint64_t size)
{
    if (offset > file->size || count > (file->size - offset) / size || offset % 4)
        return NULL;
    return file->bytes + offset;
}

static bool is_in(const ElfW(Sym) *symbol, uint64_t offset)
{
    unsigned type = symbol->st_info & 0xf;

    return (type == STT_FUNC || type == STT_OBJECT) && symbol->st_shndx != SHN_UNDEF &&
           offset - symbol->st_value < symbol->st_size;
}

static void search_table(const struct file *file, const ElfW(Shdr) *table, const ElfW(Shdr) *names,
                         struct plait__place *place)
{
    uint64_t count = table->sh_size / sizeof(ElfW(Sym));
    const ElfW(Sym) *symbols = part(file, table->sh_offset, count, sizeof *symbols);

    for (uint64_t i = 0; symbols && i < count; i++) {
        uint64_t at = names->sh_offset + symbols[i].st_name;

        if (!is_in(&symbols[i], place->in.offset) || at >= file->size)
            continue;
        strncpy(place->symbol, file->bytes + at,
                sizeof place->symbol - 1 < file->size - at ? sizeof place->symbol - 1 : file->size - at);
        place->distance = place->in.offset - symbols[i].st_value;
        return;
    }
}

static void find_symbol(const struct file *file, struct plait__place *place)
{
    const ElfW(Ehdr) *header = part(file, 0, 1, sizeof *header);
    const ElfW(Shdr) *sections;

    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_shentsize != sizeof *sections)
        return;
    sections = part(file, header->e_shoff, header->e_shnum, sizeof *sections);
    for (unsigned type = SHT_SYMTAB; sections && !place->symbol[0]; type = SHT_DYNSYM) {
        for (unsigned i = 0; i < header->e_shnum && !place->symbol[0]; i++)
            if (sections[i].sh_type == type && sections[i].sh_link < header->e_shnum)
                search_table(file, &sections[i], &sections[sections[i].sh_link], place);
        if (type == SHT_DYNSYM)
            return;
    }
}

int plait__place_of(const void *address, struct plait__place *place_out)
{
    struct file file;
    ssize_t length;
    int err;

    memset(place_out, 0, sizeof *place_out);
    err = plait__module_of(address, &place_out->in);
    if (err)
        return err;
    if (place_out->in.module.is_program) {
        length = readlink("/proc/self/exe", place_out->path, sizeof place_out->path - 1);
        place_out->path[length > 0 ? length : 0] = 0;
    } else {
        strcpy(place_out->path, place_out->in.module.path);
    }
    if (map(place_out->in.module.is_program ? "/proc/self/exe" : place_out->path, &file)) {
        find_symbol(&file, place_out);
        munmap((void *)(uintptr_t)file.bytes, file.size);
    }
    return 0;
}

static size_t read_all(int fd, char *bytes, size_t size)
{
    size_t used = 0;

    while (used < size) {
        ssize_t n = read(fd, bytes + used, size - used);

        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    return used;
}

/* Run addr2line with its output in a pipe: a line for each function that was inlined there, the innermost first. */
static void ask(char *path, char *offset, char *lines, size_t size)
{
    char *argv[] = { (char *)"addr2line", (char *)"-i", (char *)"-e", path, offset, NULL };
    posix_spawn_file_actions_t actions;
    int ends[2];
    size_t n = 0;
    pid_t pid;

    lines[0] = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    if (posix_spawn_file_actions_init(&actions) == 0) {
        if (posix_spawn_file_actions_adddup2(&actions, ends[1], 1) == 0 &&
            posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) == 0 &&
            posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0) {
            close(ends[1]);
            ends[1] = -1;
            n = read_all(ends[0], lines, size - 1);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    lines[n] = 0;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
}

/* Is it ours: .../plait/lock.h:113 */
static bool is_our_header(const char *line)
{
    const char *slash = strrchr(line, '/');

    return slash && slash - line >= 6 && memcmp(slash - 6, "/plait", 6) == 0 && strstr(slash, ".h:");
}

void plait__place_line(const struct plait__place *place, char *line, unsigned size)
{
    char path[PATH_MAX], offset[32], lines[2048], *rest = lines, *found;

    line[0] = 0;
    if (!place->path[0])
        return;
    strcpy(path, place->path);
    snprintf(offset, sizeof offset, "0x%llx", (unsigned long long)place->in.offset);
    ask(path, offset, lines, sizeof lines);
    do
        found = strsep(&rest, "\n");
    while (found && is_our_header(found));
    if (!found || !*found || *found == '?')
        return;
    found[strcspn(found, " ")] = 0;
    rest = strrchr(found, '/');
    snprintf(line, size, "%s", rest ? rest + 1 : found);
}
