/* Fuzz target: stop rules under any text, however it is cut.
 *
 * The first bytes choose language, extent and other limits, and how long the pieces are in which the text
 * comes. Then come the line before the cursor, what follows it, a stop text, the line above, and the model's
 * text, separated by NUL. Whatever is written, the result must be the same from pieces as from the whole, and
 * what was called certain must stay as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "complete/stop.h"

#define HEAD_LEN 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct language c = {
    .name = "c", .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`"};
static const struct language python = {
    .name = "python", .line_comment = "#", .quotes = "\"'", .is_indented = true};
static const struct language lua = {
    .name = "lua", .line_comment = "--", .block_comment = {"--[[", "]]"}, .quotes = "\"'"};
static const struct language *const languages[] = {&c, &python, &lua, NULL};

static void check(bool holds)
{
    if (!holds) abort();
}

struct part {
    const char *text; /* a block of its own, so that the address sanitizer sees reads past its end */
    size_t len;
};

/* Copy from *at to the next NUL, or to the end. */
static struct part take_part(const char **at, const char *end)
{
    const char *nul = memchr(*at, '\0', (size_t)(end - *at));
    size_t len = (size_t)((nul ? nul : end) - *at);
    char *copy = mem_new(len + 1);
    memcpy(copy, *at, len);
    *at = nul ? nul + 1 : end;
    return (struct part){copy, len};
}

/* Only the last line of it is before the cursor; lines around it would belong to the place. */
static struct part last_line(struct part p)
{
    const char *newline = p.len > 0 ? memrchr(p.text, '\n', p.len) : NULL;
    size_t start = newline ? (size_t)(newline - p.text) + 1 : 0;
    return (struct part){p.text + start, p.len - start};
}

/* The text in s afterwards is the result. */
static void feed(struct stop *s, const struct stop_place *place, struct part text, size_t piece_len)
{
    stop_init(s, place);
    char *shown = mem_new(text.len + 1);
    size_t n_shown = 0;
    for (size_t at = 0; at < text.len;) {
        size_t n = piece_len < text.len - at ? piece_len : text.len - at;
        bool goes_on = stop_feed(s, text.text + at, n);
        at += n;
        check(s->certain >= n_shown && s->certain <= s->text.len);
        if (n_shown > 0) check(memcmp(s->text.data, shown, n_shown) == 0);
        n_shown = s->certain;
        if (n_shown > 0) memcpy(shown, s->text.data, n_shown);
        check(goes_on == (s->why == STOP_NOT));
        if (!goes_on) break;
    }
    stop_finish(s);
    check(s->certain >= n_shown);
    if (n_shown > 0) check(memcmp(s->text.data, shown, n_shown) == 0);
    mem_free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_LEN) return 0;
    const char *at = (const char *)data + HEAD_LEN, *end = (const char *)data + size;
    struct part before = take_part(&at, end), after = take_part(&at, end), word = take_part(&at, end),
                above = take_part(&at, end), text = take_part(&at, end);
    struct part line = last_line(before);
    struct stop_word words = {word.text, word.len};
    struct stop_place place = {.line_prefix = line.text,
                               .line_prefix_len = line.len,
                               .above = above.len > 0 ? above.text : NULL,
                               .above_len = above.len,
                               .suffix = after.text,
                               .suffix_len = after.len,
                               .language = languages[data[0] % 4],
                               .extent = (enum stop_extent)(data[0] / 4 % 4),
                               .is_prefix_only = data[1] & 1,
                               .is_raw = (data[1] & 14) == 2,
                               .words = data[1] & 16 ? NULL : &words,
                               .n_words = data[1] & 16 ? 0 : 1,
                               .marks = data[1] & 16 ? &words : NULL,
                               .n_marks = data[1] & 16 ? 1 : 0,
                               .min_indent = data[2] % 8};
    struct stop whole, pieces;
    feed(&whole, &place, text, text.len);
    feed(&pieces, &place, text, data[3] ? data[3] : 1);
    check(whole.why == pieces.why && whole.certain == pieces.certain);
    if (whole.certain > 0) check(memcmp(whole.text.data, pieces.text.data, whole.certain) == 0);
    stop_clear(&whole);
    stop_clear(&pieces);
    const struct part parts[] = {before, after, word, above, text};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) mem_free((void *)(uintptr_t)parts[i].text);
    return 0;
}
