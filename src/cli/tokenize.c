/* inline tokenize: text to token ids, as the model sees it. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "model/model.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "os/file.h"

#define TEXT_MAX ((size_t)256 << 20)

static void print_plain(const struct tokenizer *t, const struct token_list *l, bool ids_only)
{
    struct buf line;
    buf_init(&line, 1 << 16);
    for (int32_t i = 0; i < l->n; i++) {
        if (ids_only) {
            printf("%d\n", l->ids[i]);
            continue;
        }
        size_t len;
        const char *text = tokenizer_text(t, l->ids[i], &len);
        struct json j;
        json_init(&j, &line);
        json_str_len(&j, NULL, text, len);
        printf("%8d  %s\n", l->ids[i], buf_str(&line));
        buf_reset(&line);
    }
    buf_clear(&line);
}

static enum err print_json(const struct token_list *l)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_begin_array(&j, "tokens");
    for (int32_t i = 0; i < l->n; i++) json_int(&j, NULL, l->ids[i]);
    json_end_array(&j);
    json_int(&j, "count", l->n);
    json_end_object(&j);
    enum err e = out.err;
    if (!e) puts(buf_str(&out));
    buf_clear(&out);
    return e;
}

int cli_tokenize(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_special = false, is_bos = false, ids_only = false;
    const char *inline_text = NULL;
    struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0},       {"special", CLI_FLAG, &is_special, 0, 0},
        {"bos", CLI_FLAG, &is_bos, 0, 0},         {"ids", CLI_FLAG, &ids_only, 0, 0},
        {"text", CLI_STRING, &inline_text, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1 || (n_args == 1 && inline_text))
        return cli_usage_error("tokenize takes one FILE or --text");
    struct errmsg msg = {0};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    struct token_list tokens = {0};
    char *path = NULL;
    enum err e = OK;
    if (inline_text)
        buf_add_str(&text, inline_text);
    else
        e = file_read(n_args ? argv[1] : "-", &text, &msg);
    if (!e) e = cli_pick_model(NULL, s, &path, &msg);
    if (!e) e = gguf_open(path, &gguf, &msg);
    if (!e) e = tokenizer_new(gguf, &tokenizer, &msg);
    unsigned flags = (is_special ? TOKENIZER_SPECIAL : 0) | (is_bos ? TOKENIZER_BOS : 0);
    if (!e) {
        e = tokenizer_encode(tokenizer, buf_str(&text), text.len, flags, &tokens);
        if (!e && is_json)
            e = print_json(&tokens);
        else if (!e)
            print_plain(tokenizer, &tokens, ids_only);
        if (e) err_set(&msg, e, "cannot tokenize %zu bytes: %s", text.len, err_text(e));
    }
    token_list_clear(&tokens);
    tokenizer_free(&tokenizer);
    gguf_close(&gguf);
    mem_free(path);
    buf_clear(&text);
    return e ? cli_fail(&msg) : CLI_OK;
}
