/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 *     title:  42% [########............] 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left
 *     ---- head --  ------ bar ---------  ---------------------- tail -----------------------
 *
 * The tail is made without its least important parts, one more each time, until head and tail fit. The bar takes what is
 * left, if that is enough for one; the line is cut if all this did not help.
 */
#include "exec/bar_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BAR_MIN = 5, BAR_MAX = 30, BRACKETS = 3 /* with the space before them */, TAIL_SIZE = 1024 };

/* Parts of the tail, from the most important on. */
enum part { ITEMS, LEFT, UNITS, RATE, PARTS };

/* Bytes that a character takes from its first one on: the rest of it begins with the bits 10. */
static size_t character_size(const char *at)
{
    size_t size = 1;

    while (((unsigned char)at[size] & 0xc0) == 0x80)
        size++;
    return size;
}

/* Bytes of the text that fit into `columns`; *used_out: how many columns those take. */
static size_t fitting(const char *text, size_t columns, size_t *used_out)
{
    size_t at = 0, used = 0, width;

    for (; text[at]; at += character_size(text + at), used += width) {
        width = (unsigned char)text[at] < 0x80 ? 1 : 2;
        if (used + width > columns)
            break;
    }
    *used_out = used;
    return at;
}

static size_t width_of(const char *text)
{
    size_t used;

    fitting(text, SIZE_MAX, &used);
    return used;
}

/* ---- Numbers ---- */

struct text {
    char bytes[64];
};

static __attribute__((format(printf, 1, 2))) struct text print(const char *format, ...)
{
    struct text text;
    va_list list;

    va_start(list, format);
    vsnprintf(text.bytes, sizeof text.bytes, format, list);
    va_end(list);
    return text;
}

/* Three digits and a prefix, as "1.23 k"; without one, a whole number. */
static struct text by_thousands(double value)
{
    static const char prefixes[] = "kMGTPE";
    size_t power = 0;

    if (value < 999.5)
        return print("%.0f ", value);
    for (value /= 1000; value >= 999.5 && power < sizeof prefixes - 2; power++)
        value /= 1000;
    return print("%.*f %c", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, prefixes[power]);
}

static struct text as_time(double seconds)
{
    unsigned long s = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 1000000000;

    if (s >= 100 * 3600)
        return print("%lu d", s / 86400);
    if (s >= 3600)
        return print("%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    return print("%lu:%02lu", s / 60, s % 60);
}

/* ---- Parts ---- */

struct line {
    char *bytes;
    size_t size, room;
};

static __attribute__((format(printf, 2, 3))) void add(struct line *line, const char *format, ...)
{
    va_list list;
    int n;

    va_start(list, format);
    n = vsnprintf(line->bytes + line->size, line->room - line->size, format, list);
    va_end(list);
    line->size += (size_t)n < line->room - line->size ? (size_t)n : line->room - line->size - 1;
}

static const char *space_before(const char *word)
{
    return *word ? " " : "";
}

static void add_items(struct line *line, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    add(line, "%llu", (unsigned long long)look->items);
    if (look->items_total)
        add(line, "/%llu", (unsigned long long)look->items_total);
    add(line, "%s%s", space_before(words->items), words->items);
}

static void add_units(struct line *line, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    add(line, "%s%s", by_thousands((double)look->units).bytes, words->units);
    if (look->units_total)
        add(line, "/%s%s", by_thousands((double)look->units_total).bytes, words->units);
}

static void add_rate(struct line *line, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    if (look->is_by_units)
        add(line, "%s%s/s", by_thousands(look->rate).bytes, words->units);
    else
        add(line, "%.*f%s%s/s", look->rate < 1 ? 2 : look->rate < 100 ? 1 : 0, look->rate, space_before(words->items), words->items);
}

static void add_time(struct line *line, const struct plait_progress_look *look)
{
    if (look->fraction < 0)
        add(line, "%s", as_time(look->elapsed).bytes);
    else
        add(line, "%s left", as_time(look->left).bytes);
}

/* Is there such a part? Of items only if there is anything to be said of them. */
static bool has(enum part part, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    switch (part) {
    case ITEMS:
        return look->items || look->items_total || !words->units;
    case UNITS:
        return words->units != NULL;
    case RATE:
        return words->units || !look->is_by_units;
    case LEFT:
        return look->fraction < 0 || look->left >= 0;
    default:
        return false;
    }
}

/* The tail with its `count` most important parts, in the order in which they are read. */
static void add_tail(struct line *line, int count, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    static const enum part order[] = { ITEMS, UNITS, RATE, LEFT };
    const char *between = "";

    for (size_t i = 0; i < PARTS; i++) {
        if ((int)order[i] >= count || !has(order[i], words, look))
            continue;
        add(line, "%s", between);
        between = ", ";
        switch (order[i]) {
        case ITEMS: add_items(line, words, look); break;
        case UNITS: add_units(line, words, look); break;
        case RATE: add_rate(line, words, look); break;
        default: add_time(line, look);
        }
    }
}

static void add_bar(struct line *line, size_t columns, double fraction)
{
    size_t filled = (size_t)(fraction * (double)columns);

    add(line, " [");
    for (size_t i = 0; i < columns; i++)
        add(line, "%c", i < filled ? '#' : '.');
    add(line, "]");
}

/* ---- The line ---- */

size_t plait__bar_line(char bytes[BAR_LINE_SIZE], size_t columns, const struct plait__bar_words *words,
                       const struct plait_progress_look *look)
{
    char tail_bytes[TAIL_SIZE];
    struct line line = { bytes, 0, BAR_LINE_SIZE }, tail;
    size_t wide, left, used;

    if (columns > BAR_COLUMNS_MAX)
        columns = BAR_COLUMNS_MAX;
    line.bytes[0] = 0;
    if (*words->title)
        add(&line, "%.*s%s", (int)fitting(words->title, BAR_COLUMNS_MAX / 2, &used), words->title, look->fraction < 0 ? ": " : ":");
    if (look->fraction >= 0)
        add(&line, "%s%3d%%", *words->title ? " " : "", (int)(look->fraction * 100));
    wide = width_of(line.bytes);
    for (int parts = PARTS; parts >= 0; parts--) {
        tail = (struct line){ tail_bytes, 0, sizeof tail_bytes };
        tail_bytes[0] = 0;
        add_tail(&tail, parts, words, look);
        if (wide + 1 + width_of(tail_bytes) <= columns)
            break;
    }
    left = columns - (wide + 1 + width_of(tail_bytes));
    if (look->fraction >= 0 && left < columns && left >= BAR_MIN + BRACKETS)
        add_bar(&line, left - BRACKETS < BAR_MAX ? left - BRACKETS : BAR_MAX, look->fraction);
    if (tail.size)
        add(&line, "%s%s", look->fraction < 0 ? "" : " ", tail_bytes);
    return fitting(line.bytes, columns, &used);
}
