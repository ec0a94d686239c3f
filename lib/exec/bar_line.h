/* SPDX-License-Identifier: MIT */
/* Bar line: what a progress looks like in one line of text. */
#ifndef PLAIT_EXEC_BAR_LINE_H
#define PLAIT_EXEC_BAR_LINE_H

#include <stddef.h>

#include <plait/progress.h>

enum { BAR_COLUMNS_MAX = 400, BAR_LINE_SIZE = 4 * BAR_COLUMNS_MAX + 1 };

/* The words in it: strings in UTF-8 without control characters, "" if there are none; `units` NULL: they are not shown. */
struct plait__bar_words {
    const char *title, *items, *units;
};

/*
 * Write the line: no more than `columns` wide (BAR_COLUMNS_MAX at most), and what does not fit left out, the least important first.
 * Characters beyond ASCII count as two columns, which is enough for all. Returns its size.
 */
size_t plait__bar_line(char line[BAR_LINE_SIZE], size_t columns, const struct plait__bar_words *words,
                       const struct plait_progress_look *look);

#endif
