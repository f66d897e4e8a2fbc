/* Rendering a suggestion in its place. Colours are the terminal's own eight, so that they fit its theme. */
#include "cli/complete_show.h"

#include <string.h>

#define CONTEXT_LINES 4 /* shown above and below: enough to recognise the place */

#define DIM    "\x1b[2m"
#define BRIGHT "\x1b[1;32m"
#define PLAIN  "\x1b[0m"

struct canvas {
    struct buf *out;
    bool has_colour;
    int line; /* number of the line being written */
    bool in_suggestion;
    bool at_line_start;
};

static void add_style(struct canvas *c, const char *style)
{
    if (c->has_colour) buf_add_str(c->out, style);
}

static void begin_line(struct canvas *c)
{
    add_style(c, DIM);
    buf_printf(c->out, "%6d %c ", c->line, c->in_suggestion ? '+' : ' ');
    add_style(c, PLAIN);
    if (c->in_suggestion) add_style(c, BRIGHT);
    c->at_line_start = false;
}

static void end_line(struct canvas *c)
{
    if (c->at_line_start) begin_line(c);
    if (c->in_suggestion) add_style(c, PLAIN);
    buf_add_char(c->out, '\n');
    c->line++;
    c->at_line_start = true;
}

static void add_text(struct canvas *c, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char ch = text[i];
        if (ch == '\n') {
            end_line(c);
            continue;
        }
        if (ch == '\r' && i + 1 < len && text[i + 1] == '\n') continue;
        if (c->at_line_start) begin_line(c);
        bool is_control = ((unsigned char)ch < 0x20 && ch != '\t') || ch == 0x7f;
        buf_add_char(c->out, is_control ? '?' : ch);
    }
}

/* Start of the line that is `n` lines above the one of `at`. */
static size_t lines_above(const char *text, size_t at, int n)
{
    while (at > 0 && (text[at - 1] != '\n' || n-- > 0)) at--;
    return at;
}

/* End of the line that is `n` lines below the one of `at`. */
static size_t lines_below(const char *text, size_t len, size_t at, int n)
{
    while (at < len && (text[at] != '\n' || n-- > 0)) at++;
    return at;
}

static int line_number(const char *text, size_t at)
{
    int n = 1;
    const char *end = text + at;
    for (const char *p = text; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) n++;
    return n;
}

void complete_show(struct buf *out, const char *text, size_t len, size_t cursor, const char *suggestion,
                   size_t suggestion_len, bool has_colour)
{
    size_t start = lines_above(text, cursor, CONTEXT_LINES);
    size_t end = lines_below(text, len, cursor, CONTEXT_LINES);
    struct canvas c = {
        .out = out, .has_colour = has_colour, .line = line_number(text, start), .at_line_start = true};
    size_t line = lines_above(text, cursor, 0);
    add_text(&c, text + start, line - start);
    /* The mark belongs to the whole line that the suggestion starts on; its colour only to the suggestion. */
    c.in_suggestion = suggestion_len > 0;
    begin_line(&c);
    add_style(&c, PLAIN);
    add_text(&c, text + line, cursor - line);
    if (suggestion_len > 0) add_style(&c, BRIGHT);
    add_text(&c, suggestion, suggestion_len);
    add_style(&c, PLAIN);
    c.in_suggestion = false;
    add_text(&c, text + cursor, end - cursor);
    if (!c.at_line_start) end_line(&c);
}

void complete_show_note(struct buf *out, const char *note, bool has_colour)
{
    struct canvas c = {.out = out, .has_colour = has_colour};
    add_style(&c, DIM);
    buf_add_str(out, note);
    add_style(&c, PLAIN);
    buf_add_char(out, '\n');
}
