/* See canvas.h. A line's styles are written as control sequences into its text and take no columns. */
#include "cli/canvas.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/answer.h"

#define TEXT_MAX ((size_t)1 << 20)
#define PIECE    512 /* bytes of one canvas_put: more than any terminal's line holds */
#define GONE     (-1)

/* Of the terminal's own eight colours, so that they fit its theme. */
static const char *const styles[] = {
    [CANVAS_PLAIN] = "",          [CANVAS_DIM] = "\x1b[2m",      [CANVAS_BOLD] = "\x1b[1m",
    [CANVAS_GOOD] = "\x1b[32m",   [CANVAS_WARNING] = "\x1b[33m", [CANVAS_BAD] = "\x1b[1;31m",
    [CANVAS_REVERSE] = "\x1b[7m",
};

void canvas_init(struct canvas *c, int32_t columns, int32_t rows, bool has_colour, bool is_utf8)
{
    memset(c, 0, sizeof *c);
    c->columns = columns > 0 ? columns : 1;
    c->rows = rows;
    c->has_colour = has_colour;
    c->is_utf8 = is_utf8;
    buf_init(&c->text, TEXT_MAX);
}

void canvas_clear(struct canvas *c)
{
    buf_clear(&c->text);
}

void canvas_line(struct canvas *c, int32_t rank)
{
    c->column = c->columns; /* takes nothing, unless there is a line */
    if (c->n_lines == CANVAS_LINES) return;
    buf_add_char(&c->text, '\n');
    c->lines[c->n_lines++] = (struct canvas_line){.start = c->text.len, .rank = rank};
    c->column = 0;
}

int32_t canvas_left(const struct canvas *c)
{
    return c->columns - c->column;
}

static void begin_style(struct canvas *c, enum canvas_style style)
{
    if (c->has_colour) buf_add_str(&c->text, styles[style]);
}

static void end_style(struct canvas *c, enum canvas_style style)
{
    if (c->has_colour && style != CANVAS_PLAIN) buf_add_str(&c->text, "\x1b[0m");
}

void canvas_put(struct canvas *c, enum canvas_style style, const char *fmt, ...)
{
    char piece[PIECE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    begin_style(c, style);
    c->column += answer_add_safe(&c->text, piece, canvas_left(c), c->is_utf8);
    end_style(c, style);
}

void canvas_to(struct canvas *c, int32_t column)
{
    do canvas_put(c, CANVAS_PLAIN, " ");
    while (c->column < column && canvas_left(c) > 0);
}

/* Eighths of a column, lower first; for terminals without UTF-8, what is about as dark. */
static void put_height(struct canvas *c, int32_t eighths)
{
    static const char ascii[] = " .:-=+*%#";
    if (canvas_left(c) <= 0) return;
    if (!c->is_utf8 || eighths == 0)
        buf_add_char(&c->text, ascii[eighths]);
    else
        buf_printf(&c->text, "\xe2\x96%c", 0x80 + eighths); /* U+2581 to U+2588 */
    c->column++;
}

void canvas_bar(struct canvas *c, enum canvas_style style, double share, int32_t columns)
{
    if (columns > canvas_left(c)) columns = canvas_left(c);
    double part = share > 0 ? fmin(share, 1) * columns : 0; /* also for what is not a number */
    begin_style(c, style);
    for (int32_t i = 0; i < columns; i++) put_height(c, part - i >= 0.5 ? 8 : 0);
    end_style(c, style);
}

void canvas_spark(struct canvas *c, const float *values, int32_t n, int32_t columns)
{
    float highest = 0;
    if (columns > canvas_left(c)) columns = canvas_left(c);
    int32_t first = n > columns ? n - columns : 0;
    for (int32_t i = first; i < n; i++) highest = fmaxf(highest, values[i]);
    for (int32_t i = first; i < n; i++) {
        float share = highest > 0 && values[i] > 0 ? values[i] / highest : 0;
        put_height(c, share > 0 ? (int32_t)fmaxf(1, roundf(share * 8)) : 0);
    }
}

void canvas_wrap(struct canvas *c, int32_t rank, int32_t indent, const char *text)
{
    int32_t room = c->columns - indent > 8 ? c->columns - indent : 8;
    do {
        size_t len = strlen(text), cut = len;
        if (len > (size_t)room) {
            cut = (size_t)room;
            while (cut > 0 && text[cut] != ' ') cut--;
            if (cut == 0) cut = (size_t)room;
        }
        canvas_line(c, rank);
        canvas_put(c, CANVAS_PLAIN, "%*s%.*s", indent, "", (int)cut, text);
        text += cut;
        text += *text == ' ';
    } while (*text);
}

/* --- The whole ------------------------------------------------------------------------------------------ */

int32_t canvas_n(const struct canvas *c)
{
    return c->rows > 0 && c->n_lines > c->rows ? c->rows : c->n_lines;
}

static void leave_out(struct canvas *c)
{
    int32_t worst = 0;
    for (int32_t i = 0; i < c->n_lines; i++) {
        if (c->lines[i].rank >= c->lines[worst].rank) worst = i;
    }
    c->lines[worst].rank = GONE;
}

/* A line's length, without the spaces at its end and the newline before the next one. */
static size_t line_len(const struct canvas *c, int32_t i)
{
    const struct canvas_line *line = &c->lines[i];
    size_t end = i + 1 < c->n_lines ? c->lines[i + 1].start - 1 : c->text.len;
    while (end > line->start && c->text.data[end - 1] == ' ') end--;
    return end - line->start;
}

void canvas_write(struct canvas *c, bool is_screen, struct buf *out)
{
    bool is_first = true;
    if (c->text.err) {
        out->err = c->text.err;
        return;
    }
    for (int32_t n = c->n_lines; n > canvas_n(c); n--) leave_out(c);
    if (is_screen) buf_add_str(out, "\x1b[H");
    for (int32_t i = 0; i < c->n_lines; i++) {
        if (c->lines[i].rank == GONE) continue;
        /* A line is emptied before it is written: after its last column, the cursor is still on that one. */
        if (is_screen) buf_add_str(out, is_first ? "\x1b[K" : "\r\n\x1b[K");
        buf_add(out, c->text.data + c->lines[i].start, line_len(c, i));
        if (!is_screen) buf_add_char(out, '\n');
        is_first = false;
    }
    /* What is below. */
    if (is_screen && canvas_n(c) < c->rows) buf_add_str(out, "\r\n\x1b[J");
}
