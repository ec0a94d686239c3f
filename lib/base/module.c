/* SPDX-License-Identifier: MIT */
#include "base/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

/*
 * How it works
 *
 * dl_iterate_phdr lists what is loaded, in static programs too. A function's module is the one with an executable
 * segment around the address; its identity is the GNU build-id note, which lies in a loaded segment. Without
 * a note the path and the size of the mapping stand in. Offsets are taken from the base where the module was
 * mapped, so they hold wherever another process maps the same file.
 *
 * dlopen is a weak reference: a static program that does not use it otherwise has none, and can run functions of
 * its own only, which is all there are.
 */
#pragma weak dlopen

struct search {
    const char *address;         /* for plait__function_of and plait__module_of */
    uint32_t needs;              /* flags that the segment around it must have */
    const struct plait__module *wanted; /* for plait__function_open */
    uint64_t offset;
    struct plait__function *function_out;
    void **address_out;
    unsigned position; /* in the list: the program comes first */
};

static uint64_t extent_of(const struct dl_phdr_info *info)
{
    uint64_t extent = 0;

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && p->p_vaddr + p->p_memsz > extent)
            extent = p->p_vaddr + p->p_memsz;
    }
    return extent;
}

static bool has_segment_at(const struct dl_phdr_info *info, uint64_t offset, uint32_t needs)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && (p->p_flags & needs) == needs && offset >= p->p_vaddr &&
            offset - p->p_vaddr < p->p_memsz)
            return true;
    }
    return false;
}

/* Look for the build-id among the notes of one segment. */
static bool read_notes(const char *notes, size_t size, size_t align, struct plait__module *module)
{
    size_t at = 0;

    while (size - at >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)(notes + at);
        size_t name = at + sizeof *note;
        size_t bytes = (name + note->n_namesz + align - 1) & ~(align - 1);
        size_t end = (bytes + note->n_descsz + align - 1) & ~(align - 1);

        if (bytes + note->n_descsz > size)
            return false;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0 &&
            note->n_descsz <= PLAIT__BUILD_ID_MAX) {
            module->build_id_size = note->n_descsz;
            memcpy(module->build_id, notes + bytes, note->n_descsz);
            return true;
        }
        if (end >= size)
            return false;
        at = end;
    }
    return false;
}

static void describe(const struct dl_phdr_info *info, bool is_program, struct plait__module *module)
{
    memset(module, 0, sizeof *module);
    module->extent = extent_of(info);
    module->is_program = is_program;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_NOTE &&
            read_notes((const char *)info->dlpi_addr + p->p_vaddr, p->p_memsz, p->p_align == 8 ? 8 : 4, module))
            break;
    }
    if (!is_program)
        strncpy(module->path, info->dlpi_name, sizeof module->path - 1);
}

static int find_address(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *search = arg;
    bool is_program = search->position++ == 0;
    uint64_t offset = (uint64_t)(uintptr_t)search->address - info->dlpi_addr;

    if (!has_segment_at(info, offset, search->needs))
        return 0;
    describe(info, is_program, &search->function_out->module);
    search->function_out->offset = offset;
    return 1;
}

static int find(const void *address, uint32_t needs, struct plait__function *function_out)
{
    struct search search = { .address = address, .needs = needs, .function_out = function_out };
    char absolute[PATH_MAX];

    if (!address || dl_iterate_phdr(find_address, &search) == 0)
        return EINVAL;
    struct plait__module *module = &function_out->module;
    if (module->path[0] && realpath(module->path, absolute))
        strcpy(module->path, absolute);
    return 0;
}

int plait__function_of(const void *address, struct plait__function *function_out)
{
    return find(address, PF_X, function_out);
}

int plait__module_of(const void *address, struct plait__function *function_out)
{
    return find(address, 0, function_out);
}

static bool is_same(const struct plait__module *a, const struct plait__module *b)
{
    if (a->build_id_size || b->build_id_size)
        return a->build_id_size == b->build_id_size && memcmp(a->build_id, b->build_id, a->build_id_size) == 0;
    if (a->extent != b->extent || a->is_program != b->is_program)
        return false;
    const char *name_a = strrchr(a->path, '/'), *name_b = strrchr(b->path, '/');
    return strcmp(name_a ? name_a : a->path, name_b ? name_b : b->path) == 0;
}

static int find_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *search = arg;
    struct plait__module here;
    bool is_program = search->position++ == 0;

    /* The cheap comparison first: extents differ between nearly all modules. */
    if (extent_of(info) != search->wanted->extent || !has_segment_at(info, search->offset, PF_X))
        return 0;
    describe(info, is_program, &here);
    if (!is_same(&here, search->wanted))
        return 0;
    *search->address_out = (char *)info->dlpi_addr + search->offset;
    return 1;
}

int plait__function_open(const struct plait__module *module, uint64_t offset, void **address_out)
{
    struct search search = { .wanted = module, .offset = offset, .address_out = address_out };

    if (dl_iterate_phdr(find_module, &search))
        return 0;
    if (module->is_program || !module->path[0] || !dlopen || !dlopen(module->path, RTLD_NOW))
        return EINVAL;
    search.position = 0;
    return dl_iterate_phdr(find_module, &search) ? 0 : EINVAL;
}

static int read_generation(struct dl_phdr_info *info, size_t size, void *arg)
{
    *(uint64_t *)arg = (uint64_t)info->dlpi_adds + info->dlpi_subs;
    return 1;
}

uint64_t plait__modules_generation(void)
{
    uint64_t generation = 0;

    dl_iterate_phdr(read_generation, &generation);
    return generation;
}
