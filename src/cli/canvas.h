/* Lines of text for a terminal of any size: cut at its width, the least important ones left out where it is
 * not high enough, in colour or without. What is put is made safe (answer_add_safe). */
#ifndef CLI_CANVAS_H
#define CLI_CANVAS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CANVAS_LINES 256 /* more are left out */

enum canvas_style {
    CANVAS_PLAIN,
    CANVAS_DIM,
    CANVAS_BOLD,
    CANVAS_GOOD,
    CANVAS_WARNING,
    CANVAS_BAD,
    CANVAS_REVERSE
};

struct canvas_line {
    size_t start; /* in text */
    int32_t rank;
};

struct canvas {
    int32_t columns, rows; /* rows 0: as many as there are */
    bool has_colour, is_utf8;
    struct buf text;
    struct canvas_line lines[CANVAS_LINES];
    int32_t n_lines;
    int32_t column; /* of the line that is being written */
};

void canvas_init(struct canvas *c, int32_t columns, int32_t rows, bool has_colour, bool is_utf8);
void canvas_clear(struct canvas *c);

/* The next line. Where there are too many, those of the highest rank go first, the last of them before the
 * others. */
void canvas_line(struct canvas *c, int32_t rank);
void canvas_put(struct canvas *c, enum canvas_style style, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Go on at this column, or one space further where the line is there already. */
void canvas_to(struct canvas *c, int32_t column);
int32_t canvas_left(const struct canvas *c); /* columns of the line that are free */
/* A share from 0 to 1 of so many columns. */
void canvas_bar(struct canvas *c, enum canvas_style style, double share, int32_t columns);
/* Values as columns of heights from 0 to the highest of them: the last `columns` ones. */
void canvas_spark(struct canvas *c, const float *values, int32_t n, int32_t columns);
/* The text in lines cut between words, each after `indent` columns. */
void canvas_wrap(struct canvas *c, int32_t rank, int32_t indent, const char *text);

/* How many lines there are, of those that fit. */
int32_t canvas_n(const struct canvas *c);
/* Everything, as lines of a text; or (is_screen) over what a terminal shows. Once: ranks are used up. */
void canvas_write(struct canvas *c, bool is_screen, struct buf *out);

#endif
