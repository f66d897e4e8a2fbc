/* The table of keys of [model.NAME] sections, and what each value must look like. See settings_models.h.
 *
 * All is checked when the settings are read, so that a mistake is told with its line before anything is sent:
 * only what the servers themselves know is left to `inline model check`. */
#include "cli/settings_models.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "cli/settings_url.h"
#include "complete/remote_prompt.h"

#define PREFIX       "model."
#define NAME_LEN_MAX 63 /* bytes of a name: journal.h keeps as many */
#define NUMBER_MAX   16 /* bytes of an int32_t as text */
#define VALUE_LIMIT  ((size_t)1 << 16)
#define CONTEXT_MIN  64 /* as engine.context */
#define CONTEXT_MAX  (1 << 20)

/* LIST: goes on in lines that begin with a blank. PATH: kept as expand_path makes it. */
enum kind { TEXT, LIST, PATH, INTEGER, CHOICE };

struct row {
    const char *key;
    enum kind kind;
    size_t offset;       /* in struct settings_remote: char *, or int32_t for INTEGER */
    const char *initial; /* default, as text; "" or "0": unset */
    const char *choices; /* of CHOICE: separated by spaces */
    enum err (*check)(const char *value, struct errmsg *why); /* of TEXT and LIST; or null */
    bool must;                                                /* be given */
    const char *help;                                         /* for the documentation */
};

static enum err check_variable(const char *value, struct errmsg *why);

#define FIELD(f) offsetof(struct settings_remote, f)

static const struct row rows[] = {
    {"type", CHOICE, FIELD(type), "remote", "remote", NULL, false, "what kind of model this is"},
    {"api", CHOICE, FIELD(api), "", "openai llama ollama", NULL, true,
     "what its servers speak: OpenAI's completions (vLLM, SGLang, TGI, LM Studio ...), llama-server's own "
     "API, "
     "or Ollama's"},
    {"urls", LIST, FIELD(urls), "", NULL, settings_url_check_list, true,
     "base URLs of its servers, http or https, separated by spaces or commas; further lines may follow that "
     "begin with a blank. All of them serve the same model; each request goes to the one that is likely to "
     "answer first"},
    {"model", TEXT, FIELD(model), "", NULL, NULL, false,
     "the model's name at the servers; unset: the one they have, if that is one"},
    {"fim", TEXT, FIELD(fim), "auto", NULL, remote_prompt_check_setting, false,
     "how the text after the cursor is shown: `server`: the server's own API for it; a family's name "
     "(`qwen`, "
     "`starcoder` ...): as that family was trained; `none`: not at all; `auto`: the server's where it has "
     "one, "
     "else what the model's name tells"},
    {"key_file", PATH, FIELD(key_file), "", NULL, NULL, false,
     "a file whose first line is the key that the servers ask for; `~/` is the home directory, other "
     "relative "
     "paths begin at the settings file's; nobody else may read it (`chmod 600`)"},
    {"key_env", TEXT, FIELD(key_env), "", NULL, check_variable, false,
     "or the environment variable that holds the key"},
    {"ca_file", PATH, FIELD(ca_file), "", NULL, NULL, false,
     "a file of certificates (PEM) that are trusted instead of the system's; a path as key_file"},
    {"context", INTEGER, FIELD(n_ctx), "0", NULL, NULL, false,
     "tokens that the model sees at most; unset: what the servers say, else 4096"},
};

#define N_ROWS ((int)(sizeof rows / sizeof *rows))
_Static_assert(sizeof rows / sizeof *rows == SETTINGS_REMOTE_KEYS, "one origin for each row");

static char **text_field(struct settings_remote *r, const struct row *row)
{
    return (char **)((char *)r + row->offset);
}

/* The value in force as text, "" if there is none; `number` is used for integers. */
static const char *value_of(const struct settings_remote *r, const struct row *row, char number[NUMBER_MAX])
{
    if (row->kind != INTEGER) return *(char *const *)((const char *)r + row->offset);
    int32_t value = *(const int32_t *)((const char *)r + row->offset);
    number[0] = '\0';
    if (value != 0) snprintf(number, NUMBER_MAX, "%" PRId32, value);
    return number;
}

const struct settings_remote *settings_remote(const struct settings *s, const char *name)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        if (strcasecmp(s->remotes[i].name, name) == 0) return &s->remotes[i];
    }
    return NULL;
}

/* --- Values -------------------------------------------------------------------------------------------- */

static bool is_variable(const char *name)
{
    if (*name >= '0' && *name <= '9') return false;
    size_t len = strlen(name);
    return len > 0 && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static enum err check_variable(const char *value, struct errmsg *why)
{
    if (!is_variable(value))
        return err_set(why, ERR_ARG, "\"%s\" is no name of an environment variable", value);
    if (strncmp(value, "INLINE_", 7) == 0)
        return err_set(why, ERR_ARG, "\"%s\": names that begin with INLINE_ are those of settings", value);
    return OK;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *c = choices; *c; c += strspn(c, " ")) {
        size_t n = strcspn(c, " ");
        if (n == len && strncmp(c, value, n) == 0) return true;
        c += n;
    }
    return false;
}

static enum err set_integer(int32_t *field, const char *value, struct errmsg *why)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < CONTEXT_MIN || number > CONTEXT_MAX)
        return err_set(why, ERR_ARG, "a whole number from %d to %d, not \"%s\"", CONTEXT_MIN, CONTEXT_MAX,
                       value);
    *field = (int32_t)number;
    return OK;
}

/* "~/x" is in the home directory; other relative paths begin where the settings file is, which the origin
 * tells. */
static char *expand_path(const char *value, const char *origin)
{
    struct buf path;
    const char *home = getenv("HOME"), *slash = strrchr(origin, '/');
    buf_init(&path, VALUE_LIMIT);
    if (value[0] == '~' && value[1] == '/' && home && *home)
        buf_printf(&path, "%s%s", home, value + 1);
    else if (!*value || *value == '/' || !slash)
        buf_add_str(&path, value);
    else
        buf_printf(&path, "%.*s/%s", (int)(slash - origin), origin, value);
    return buf_take(&path);
}

static enum err set_value(struct settings_remote *r, const struct row *row, const char *value,
                          const char *origin, struct errmsg *why)
{
    if (row->kind == INTEGER) return set_integer((int32_t *)((char *)r + row->offset), value, why);
    if (row->kind == CHOICE && !is_choice(row->choices, value))
        return err_set(why, ERR_ARG, "one of: %s; not \"%s\"", row->choices, value);
    enum err err = row->check ? row->check(value, why) : OK;
    if (err) return err;
    char **field = text_field(r, row);
    mem_free(*field);
    *field = row->kind == PATH ? expand_path(value, origin) : mem_dup_str(value);
    return OK;
}

/* --- Reading ------------------------------------------------------------------------------------------- */

bool settings_models_own(const char *section)
{
    return strncmp(section, PREFIX, strlen(PREFIX)) == 0;
}

/* One that the command line can take: no path, no option. */
static bool is_name(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
    size_t len = strlen(name);
    return len > 0 && len <= NAME_LEN_MAX && *name != '-' && *name != '.' && strspn(name, letters) == len;
}

static enum err add(struct settings *s, const char *name, const char *origin, struct errmsg *msg)
{
    const struct settings_remote *other = settings_remote(s, name);
    if (!is_name(name))
        return err_set(
            msg, ERR_ARG,
            "%s: [model.%s]: a name has up to %d letters, digits, '-', '_', '.' and ':', and begins "
            "with none of '-' and '.'",
            origin, name, NAME_LEN_MAX);
    if (other)
        return err_set(msg, ERR_ARG, "%s: [model.%s] is there twice; see %s", origin, name, other->origin);
    if (s->n_remotes == SETTINGS_REMOTES)
        return err_set(msg, ERR_LIMIT, "%s: there are more than %d sections [model.NAME]", origin,
                       SETTINGS_REMOTES);
    struct settings_remote *all = mem_try_resize(s->remotes, (size_t)s->n_remotes + 1, sizeof *all);
    if (!all) return err_set(msg, ERR_NOMEM, "%s: %s", origin, err_text(ERR_NOMEM));
    s->remotes = all;
    struct settings_remote *r = &all[s->n_remotes++];
    *r = (struct settings_remote){.name = mem_dup_str(name), .origin = mem_dup_str(origin)};
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].kind != INTEGER) *text_field(r, &rows[i]) = mem_dup_str(rows[i].initial);
    }
    return OK;
}

enum err settings_models_begin(struct settings *s, const char *line, size_t len, const char *origin,
                               struct errmsg *msg)
{
    char name[256]; /* longer than a line of the file */
    const char *end = memchr(line, ']', len);
    size_t skip = strlen("[" PREFIX);
    if (len < skip || strncmp(line, "[" PREFIX, skip) != 0 || !end) return OK;
    snprintf(name, sizeof name, "%.*s", (int)(end - line - (ptrdiff_t)skip), line + skip);
    return add(s, name, origin, msg);
}

static enum err unknown_key(const char *name, const char *key, const char *origin, struct errmsg *msg)
{
    struct nearest nearest;
    struct buf all;
    buf_init(&all, 1024);
    nearest_init(&nearest, key);
    for (int i = 0; i < N_ROWS; i++) {
        nearest_offer(&nearest, rows[i].key);
        buf_printf(&all, " %s", rows[i].key);
    }
    enum err err =
        err_set(msg, ERR_ARG, "%s: [model.%s] has no key %s; %s%s%s", origin, name, key,
                nearest.best ? "did you mean " : "there are:", nearest.best ? nearest.best : buf_str(&all),
                nearest.best ? "?" : "");
    buf_clear(&all);
    return err;
}

/* Bytes before a comment at the end of a line and the blanks before it, which libinih leaves there in lines
 * that go on. */
static size_t len_without_comment(const char *value)
{
    size_t len = strlen(value);
    for (const char *c = value; (c = strchr(c, ';')); c++) {
        if (c == value || (c[-1] != ' ' && c[-1] != '\t')) continue;
        for (len = (size_t)(c - value); len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t');) len--;
        break;
    }
    return len;
}

static enum err set_row(struct settings_remote *r, int i, const char *value, bool goes_on, const char *origin,
                        struct errmsg *msg)
{
    struct errmsg why = {0};
    struct buf whole;
    char number[NUMBER_MAX];
    bool is_more = goes_on && rows[i].kind == LIST && r->key_origin[i];
    if (r->key_origin[i] && !is_more)
        return err_set(msg, ERR_ARG, "%s: model.%s.%s is set twice", origin, r->name, rows[i].key);
    buf_init(&whole, VALUE_LIMIT);
    if (is_more) buf_printf(&whole, "%s ", value_of(r, &rows[i], number));
    buf_add(&whole, value, goes_on ? len_without_comment(value) : strlen(value));
    enum err err = whole.err ? err_set(&why, whole.err, "too long")
                             : set_value(r, &rows[i], buf_str(&whole), origin, &why);
    buf_clear(&whole);
    if (err) return err_set(msg, err, "%s: model.%s.%s: %s", origin, r->name, rows[i].key, why.text);
    if (!r->key_origin[i]) r->key_origin[i] = mem_dup_str(origin);
    return OK;
}

enum err settings_models_set(struct settings *s, const char *key, const char *value, bool goes_on,
                             const char *origin, struct errmsg *msg)
{
    if (s->n_remotes == 0) return err_set(msg, ERR_ARG, "%s: %s belongs to no section", origin, key);
    struct settings_remote *r = &s->remotes[s->n_remotes - 1];
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].key, key) == 0) return set_row(r, i, value, goes_on, origin, msg);
    }
    return unknown_key(r->name, key, origin, msg);
}

/* --- Sections as a whole ------------------------------------------------------------------------------- */

static const char *origin_of(const struct settings_remote *r, size_t offset)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].offset == offset && r->key_origin[i]) return r->key_origin[i];
    }
    return r->origin;
}

/* Where anybody on the way could read the key. */
static enum err check_key_is_safe(const struct settings_remote *r, struct errmsg *msg)
{
    const char *rest = r->urls, *url;
    size_t len;
    while (settings_url_next(&rest, &url, &len)) {
        if (settings_url_is_private(url, len)) continue;
        return err_set(msg, ERR_ARG,
                       "%s: model.%s has a key, which %.*s would send unencrypted: use https, or a tunnel to "
                       "this machine",
                       origin_of(r, FIELD(urls)), r->name, (int)len, url);
    }
    return OK;
}

static enum err check_section(const struct settings_remote *r, struct errmsg *msg)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (!rows[i].must || r->key_origin[i]) continue;
        return err_set(msg, ERR_ARG, "%s: [model.%s] needs %s%s%s", r->origin, r->name, rows[i].key,
                       rows[i].choices ? ", one of: " : "", rows[i].choices ? rows[i].choices : "");
    }
    if (*r->key_file && *r->key_env)
        return err_set(msg, ERR_ARG, "%s: model.%s has both key_file and key_env; one of them is enough",
                       origin_of(r, FIELD(key_env)), r->name);
    return *r->key_file || *r->key_env ? check_key_is_safe(r, msg) : OK;
}

enum err settings_models_check(const struct settings *s, struct errmsg *msg)
{
    enum err err = OK;
    for (int32_t i = 0; i < s->n_remotes && !err; i++) err = check_section(&s->remotes[i], msg);
    return err;
}

void settings_models_clear(struct settings *s)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        struct settings_remote *r = &s->remotes[i];
        for (int row = 0; row < N_ROWS; row++) {
            if (rows[row].kind != INTEGER) mem_free(*text_field(r, &rows[row]));
            mem_free(r->key_origin[row]);
        }
        mem_free(r->name);
        mem_free(r->origin);
    }
    mem_free(s->remotes);
    s->remotes = NULL;
    s->n_remotes = 0;
}

/* --- For people ---------------------------------------------------------------------------------------- */

void settings_models_describe_markdown(struct buf *out)
{
    buf_add_str(
        out,
        "\n## Models on other machines\n\n"
        "A section `[model.NAME]` of the file describes a model that servers on other machines run. Where\n"
        "settings and commands take a model's name, `NAME` then means it, in any case: as `models.main`, "
        "for\n"
        "some `models.languages`, or asked for by a client. `inline model check NAME` tries it out.\n\n"
        "```ini\n[models]\nmain = gpu\ninstant = qwen2.5-coder-0.5b\n\n"
        "[model.gpu]\napi = openai\nurls = https://gpu1.example.org:8000 https://gpu2.example.org:8000\n"
        "key_file = gpu.key\n```\n\n"
        "Only the settings file has these keys. A key (`key_file`, `key_env`) goes to no other host than\n"
        "those of `urls`, and unencrypted (`http`) only to this machine itself.\n\n"
        "| key | default | meaning |\n|---|---|---|\n");
    for (int i = 0; i < N_ROWS; i++) {
        const struct row *row = &rows[i];
        bool is_set = *row->initial && strcmp(row->initial, "0") != 0;
        buf_printf(out, "| `%s` | ", row->key);
        if (is_set) buf_printf(out, "`%s`", row->initial);
        if (!is_set) buf_add_str(out, row->must ? "must be given" : "unset");
        buf_printf(out, " | %s", row->help);
        if (row->kind == INTEGER) buf_printf(out, " (%d to %d)", CONTEXT_MIN, CONTEXT_MAX);
        if (row->kind == CHOICE) buf_printf(out, " (one of: %s)", row->choices);
        buf_add_str(out, " |\n");
    }
}

static const char *shown_origin(const struct settings_remote *r, int row)
{
    return r->key_origin[row] ? r->key_origin[row] : "default";
}

void settings_models_report(const struct settings *s, struct buf *out)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        const struct settings_remote *r = &s->remotes[i];
        for (int row = 0; row < N_ROWS; row++) {
            char key[128], number[NUMBER_MAX];
            const char *value = value_of(r, &rows[row], number);
            snprintf(key, sizeof key, PREFIX "%s.%s", r->name, rows[row].key);
            buf_printf(out, "%-20s %-28s %s\n", key, *value ? value : "(unset)", shown_origin(r, row));
        }
    }
}

void settings_models_report_json(const struct settings *s, struct json *j)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        const struct settings_remote *r = &s->remotes[i];
        for (int row = 0; row < N_ROWS; row++) {
            char key[128], number[NUMBER_MAX];
            snprintf(key, sizeof key, PREFIX "%s.%s", r->name, rows[row].key);
            json_begin_object(j, key);
            if (rows[row].kind == INTEGER) {
                json_int(j, "value", *(const int32_t *)((const char *)r + rows[row].offset));
            } else {
                json_str(j, "value", value_of(r, &rows[row], number));
            }
            json_str(j, "origin", shown_origin(r, row));
            json_end_object(j);
        }
    }
}
