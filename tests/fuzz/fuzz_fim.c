/* Fuzz target: any bytes as a document whose prompt is spelled out.
 *
 * The first bytes choose the family, the budget, the cursor and what else is shown. The prompt is within its
 * budget, parts only at whole characters, and has the tokens' names only where they were put: none of those
 * that the document spells is left. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "context/fim.h"

#define HEAD_BYTES 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

static const char *family_of(uint8_t which)
{
    static const char *const families[] = {"qwen",      "codegemma",  "granite4",   "mellum",    "starcoder2",
                                           "granite",   "starcoder",  "santacoder", "codellama", "deepseek",
                                           "codestral", "seed-coder", "glm",        "generic",   "none"};
    return families[which % (sizeof families / sizeof *families)];
}

static size_t count(const struct buf *text, const char *what)
{
    size_t n = 0;
    const char *at = text->data, *end = text->data + text->len;
    for (; (at = memmem(at, (size_t)(end - at), what, strlen(what))); at++) n++;
    return n;
}

/* Each mark stands as often as in the prompt of nothing. */
static void check_marks(const struct fim *f, const struct buf *prompt, const struct buf *bare)
{
    const char *marks[FIM_MAX_MARKS];
    int32_t n = f->order == FIM_PREFIX_ONLY ? 0 : fim_marks(f, marks);
    for (int32_t i = 0; i < n; i++) check(count(prompt, marks[i]) == count(bare, marks[i]));
}

static void check_spelled(const struct fim *f, const struct fim_input *in, size_t max, bool is_valid)
{
    static const struct fim_input nothing = {.prefix = "", .suffix = ""};
    struct buf prompt, bare, after;
    struct errmsg msg;
    int32_t room = -1;
    buf_init(&prompt, max);
    buf_init(&bare, 4096);
    buf_init(&after, max);
    check(fim_spell(f, &nothing, 4096, &bare, NULL, &msg) == OK);
    enum err err = fim_spell(f, in, max, &prompt, &room, &msg);
    check(err == OK || (err == ERR_LIMIT && max <= bare.len));
    if (!err) {
        check(prompt.len >= 1 && prompt.len <= max && room >= 0);
        check(!is_valid || utf8_valid_len(prompt.data, prompt.len) == prompt.len);
        check_marks(f, &prompt, &bare);
    }
    if (max > 0) {
        check(fim_spell_parts(f, in, max, &prompt, &after, &room, &msg) == OK);
        check(prompt.len + after.len <= max && room >= 0);
    }
    buf_clear(&prompt);
    buf_clear(&bare);
    buf_clear(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fim f;
    if (size < HEAD_BYTES) return 0;
    size_t len = size - HEAD_BYTES, max = data[1] + 256u * (data[2] % 16);
    char *text = mem_new(len + 1);
    memcpy(text, data + HEAD_BYTES, len);
    bool is_valid = utf8_valid_len(text, len) == len;
    size_t cursor = (data[3] + 256u * data[4]) % (len + 1);
    while (cursor < len && utf8_is_continuation(text[cursor])) cursor++;
    struct fim_file files[] = {{"far.c", text, cursor}, {text, text + cursor, len - cursor}};
    struct fim_input in = {.prefix = text,
                           .prefix_len = cursor,
                           .suffix = text + cursor,
                           .suffix_len = len - cursor,
                           .path = data[5] & 1 ? text : NULL,
                           .repo = data[5] & 2 ? text : NULL,
                           .line_comment = data[5] & 4 ? "//" : NULL,
                           .files = files,
                           .n_files = data[5] >> 3 & 1 ? 2 : 0};
    check(fim_of_family(family_of(data[0]), &f));
    check_spelled(&f, &in, max, is_valid);
    const char *family = fim_family_of_name(text);
    check(!family || fim_of_family(family, &f));
    mem_free(text);
    return 0;
}
