/* Prompts for models on other machines. */
#include "complete/remote_prompt.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Special tokens are few tokens in many bytes: room for their names, besides that for text. */
#define MARK_BYTES 256
/* What a server puts around each file that it is sent, about. */
#define FILE_MARK_BYTES 16

static size_t bytes_of(int32_t n_tokens)
{
    return (size_t)n_tokens * FIM_BYTES_PER_TOKEN_MIN;
}

/* ---- Which format ---- */

enum err remote_prompt_check_setting(const char *setting, struct errmsg *msg)
{
    struct fim fim;
    if (strcmp(setting, "auto") == 0 || strcmp(setting, "server") == 0 || fim_of_family(setting, &fim))
        return OK;
    struct buf families;
    buf_init(&families, SIZE_MAX);
    fim_families(&families);
    err_set(msg, ERR_ARG, "no FIM format \"%s\"; there is auto, server, none, and of a model's family: %s",
            setting, buf_str(&families));
    buf_clear(&families);
    return ERR_ARG;
}

static const char *family_told(const struct remote_traits *t)
{
    const char *family = fim_family_of_name(t->model);
    return family ? family : fim_family_of_name(t->base);
}

void remote_prompt_fim(const char *setting, const struct remote_traits *t, struct fim *out, bool *is_servers)
{
    bool is_auto = strcmp(setting, "auto") == 0;
    const char *family = family_told(t);
    *is_servers = strcmp(setting, "server") == 0 || (is_auto && t->has_fim);
    if (*is_servers) {
        /* The family is of use for its tokens' names alone: answers end there, and texts do not hold them. */
        (void)fim_of_family(family ? family : "generic", out);
        out->detected = "server";
    } else if (is_auto || !fim_of_family(setting, out)) {
        (void)fim_of_family(is_auto && family ? family : "none", out);
    }
}

/* ---- A place in a document, laid out by the server ---- */

static size_t file_bytes(const struct fim_file *f)
{
    return f->text_len + (f->path ? strlen(f->path) : 0) + FILE_MARK_BYTES;
}

/* As for prompts that we lay out: as many of the nearest as fit into half of the prompt. */
static int32_t first_file(const struct prompt_input *in, size_t max, size_t *n_bytes)
{
    int32_t first = in->n_files;
    *n_bytes = 0;
    for (; first > 0; first--) {
        size_t n = file_bytes(&in->files[first - 1]);
        if (n > max - *n_bytes) break;
        *n_bytes += n;
    }
    return first;
}

/* Their texts go into p->text, which stands still once all are there. */
static enum err add_files(struct remote_prompt *p, const struct fim_file *files, int32_t n)
{
    size_t at = 0;
    p->files = n > 0 ? mem_try((size_t)n, sizeof *p->files) : NULL;
    if (n > 0 && !p->files) return ERR_NOMEM;
    for (int32_t i = 0; i < n; i++) {
        size_t before = p->text.len;
        fim_spell_text(&p->fim, files[i].text, files[i].text_len, &p->text);
        p->files[i].text_len = p->text.len - before;
    }
    for (int32_t i = 0; i < n && !p->text.err; i++) {
        p->files[i].path = files[i].path ? files[i].path : "";
        p->files[i].text = buf_str(&p->text) + at;
        at += p->files[i].text_len;
    }
    return p->text.err;
}

/* Other files are sent apart where the server takes them, as it was trained with them, and the edited file's
 * path is then not sent: there is no place for it. Other servers are shown both as text. */
static enum err ask_server(const struct remote_traits *t, const struct prompt_input *in, size_t max_bytes,
                           struct remote_prompt *p, struct remote_ask *ask, struct errmsg *msg)
{
    struct fim_input input = prompt_fim_input(in);
    size_t n_bytes = 0;
    if (t->takes_files) {
        int32_t first = first_file(in, max_bytes / 2, &n_bytes);
        ask->n_files = in->n_files - first;
        enum err err = add_files(p, in->files + first, ask->n_files);
        if (err) return err_set(msg, err, "cannot prepare the prompt: %s", err_text(err));
        input.n_files = 0;
        input.path = NULL;
    }
    enum err err =
        fim_spell_parts(&p->fim, &input, max_bytes - n_bytes, &p->prefix, &p->suffix, &p->room, msg);
    ask->is_fim = true;
    ask->prefix = buf_str(&p->prefix);
    ask->prefix_len = p->prefix.len;
    ask->suffix = buf_str(&p->suffix);
    ask->suffix_len = p->suffix.len;
    ask->files = p->files;
    return err;
}

/* ---- One that we lay out, as text ---- */

static enum err ask_text(const struct prompt_input *in, size_t max_bytes, struct remote_prompt *p,
                         struct remote_ask *ask, struct errmsg *msg)
{
    struct fim_input input = prompt_fim_input(in);
    enum err err = fim_spell(&p->fim, &input, max_bytes, &p->text, &p->room, msg);
    ask->prompt = buf_str(&p->text);
    ask->prompt_len = p->text.len;
    return err;
}

/* ---- A raw prompt ---- */

static void ask_raw_tokens(const struct prompt_input *in, int32_t max, struct remote_prompt *p,
                           struct remote_ask *ask)
{
    size_t start = fim_step_start((size_t)in->n_tokens, (size_t)max);
    p->was_cut = start > 0;
    p->room = p->was_cut ? 0 : max - in->n_tokens;
    ask->tokens = in->tokens + start;
    ask->n_tokens = in->n_tokens - (int32_t)start;
}

static void ask_raw_text(const char *text, size_t len, size_t max, struct remote_prompt *p,
                         struct remote_ask *ask)
{
    size_t start = fim_step_start(len, max);
    while (start < len && utf8_is_continuation(text[start])) start++;
    p->was_cut = start > 0;
    p->room = p->was_cut ? 0 : (int32_t)(max - len);
    ask->prompt = text + start;
    ask->prompt_len = len - start;
}

static void ask_raw(const struct prompt_input *in, int32_t max_tokens, struct remote_prompt *p,
                    struct remote_ask *ask)
{
    if (in->tokens && in->n_tokens > 0)
        ask_raw_tokens(in, max_tokens, p, ask);
    else if (in->text_len > 0)
        ask_raw_text(in->text, in->text_len, bytes_of(max_tokens), p, ask);
    else
        ask_raw_text("\n", 1, 1, p, ask); /* something to go on from: not every server adds BOS */
}

/* ---- The whole ---- */

enum err remote_prompt_build(const char *setting, const struct remote_traits *t,
                             const struct prompt_input *in, int32_t max_tokens, struct remote_prompt *out,
                             struct remote_ask *ask, struct errmsg *msg)
{
    bool is_servers;
    *out = (struct remote_prompt){0};
    *ask = (struct remote_ask){0};
    if (max_tokens < 1) return err_set(msg, ERR_LIMIT, "no room for a prompt");
    buf_init(&out->text, SIZE_MAX);
    buf_init(&out->prefix, SIZE_MAX);
    buf_init(&out->suffix, SIZE_MAX);
    remote_prompt_fim(setting, t, &out->fim, &is_servers);
    enum err err = OK;
    if (in->is_raw)
        ask_raw(in, max_tokens, out, ask);
    else if (is_servers)
        err = ask_server(t, in, bytes_of(max_tokens), out, ask, msg);
    else
        err = ask_text(in, bytes_of(max_tokens) + MARK_BYTES, out, ask, msg);
    if (err) remote_prompt_clear(out);
    return err;
}

void remote_prompt_clear(struct remote_prompt *p)
{
    buf_clear(&p->text);
    buf_clear(&p->prefix);
    buf_clear(&p->suffix);
    mem_free(p->files);
    p->files = NULL;
}
