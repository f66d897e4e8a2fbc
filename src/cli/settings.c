/* The table of settings, and the three places that fill it. See settings.h. */
#include "cli/settings.h"

#include <ini.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "cli/settings_models.h"
#include "os/dirs.h"
#include "os/file.h"

#define FILE_LIMIT   ((size_t)1 << 20) /* bytes of a settings file; far more than anyone writes */
#define INI_LINE_MAX 199               /* bytes that libinih takes of a line; it would split longer ones */
#define TEXT_LIMIT   65536
#define VARIABLE_MAX 64
#define NUMBER_MAX   16 /* bytes of an int32_t as text */

extern char **environ;

enum kind { TEXT, SECRET, INTEGER, CHOICE }; /* SECRET: text that is never shown */

struct row {
    const char *key;   /* "section.key" in the file, INLINE_SECTION_KEY in the environment */
    const char *alias; /* a shorter environment variable, or null */
    const char *flag;  /* "--flag", or null: not on the command line */
    enum kind kind;
    size_t offset;       /* in struct settings: char *, or int32_t for INTEGER */
    const char *initial; /* default, as text */
    int32_t min, max;    /* of INTEGER */
    const char *choices; /* of CHOICE: space-separated; "" is always one where it is the default */
    const char *help;    /* a phrase for --help and the documentation */
};

#define FIELD(f) offsetof(struct settings, f)

static const struct row rows[] = {
    {"models.main", "INLINE_MODEL", "--model", TEXT, FIELD(model), "", 0, 0, NULL,
     "model to use: a name or a path; unset: the best installed one"},
    {"models.instant", NULL, NULL, TEXT, FIELD(instant), "", 0, 0, NULL,
     "a small model that answers while somebody types; models.main then answers when it is asked by hand, "
     "and "
     "in idle moments for what is typed next; unset: models.main does all"},
    {"models.languages", NULL, NULL, TEXT, FIELD(languages), "", 0, 0, NULL,
     "other models instead of models.main for some languages, as in python=NAME,rust=NAME"},
    {"models.idle_s", NULL, NULL, INTEGER, FIELD(model_idle_s), "900", 0, 31536000, NULL,
     "seconds without a request after which a model is unloaded; the next request loads it again; 0: never"},
    {"models.lock", NULL, NULL, CHOICE, FIELD(lock), "off", 0, 0, "on off",
     "keep the weights of loaded models in memory, whatever else needs it (mlock)"},
    {"models.precision", NULL, "--precision", CHOICE, FIELD(precision), "auto", 0, 0,
     "auto full mixed quantized",
     "what F16 and BF16 weights are computed in: as they are, the most sensitive ones as they are and the "
     "others in 8 bits, or 4 bits; auto: what fits into memory"},
    {"models.eight_bit", NULL, NULL, CHOICE, FIELD(eight_bit), "q8_0", 0, 0, "q8_0 mxfp8",
     "the 8-bit format of models.precision = mixed; mxfp8 is FP8 E4M3 with a scale for 32 weights"},
    {"models.dir", NULL, NULL, TEXT, FIELD(models_dir), "", 0, 0, NULL,
     "directory of the installed models; unset: $XDG_DATA_HOME/inline/models"},
    {"models.hub", "INLINE_HUB", NULL, TEXT, FIELD(hub), "https://huggingface.co", 0, 0, NULL,
     "where `inline model pull` gets models that are named by catalogue name or hf: path"},
    {"models.pack", NULL, NULL, CHOICE, FIELD(pack), "auto", 0, 0, "auto off",
     "keep a copy of each model's weights in the layout that computing reads fastest"},
    {"remote.patience_ms", NULL, NULL, INTEGER, FIELD(remote_patience_ms), "400", 0, 60000, NULL,
     "milliseconds that a model on other machines ([model.NAME]) is given to begin its answer to somebody "
     "who "
     "types, before models.instant answers instead; 0: that answers at once"},
    {"remote.timeout_ms", NULL, NULL, INTEGER, FIELD(remote_timeout_ms), "10000", 100, 600000, NULL,
     "milliseconds that a request to such a model takes at most"},
    {"remote.connections", NULL, NULL, INTEGER, FIELD(remote_connections), "3", 1, 64, NULL,
     "connections that are kept to each server of such a model"},
    {"engine.isa", "INLINE_ISA", "--isa", CHOICE, FIELD(isa), "", 0, 0,
     "exact ref avx2 avxvnni avx512 amx neon i8mm",
     "force a variant of the numeric kernels; unset: the fastest that this CPU has"},
    {"engine.threads", "INLINE_THREADS", "--threads", INTEGER, FIELD(threads), "0", 0, 1024, NULL,
     "worker threads; 0: one for each processor that may be used"},
    {"engine.context", NULL, "--context", INTEGER, FIELD(n_ctx), "4096", 64, 1 << 20, NULL,
     "tokens that the model sees at most; never more than it was trained for"},
    {"engine.kv", NULL, NULL, CHOICE, FIELD(kv), "f16", 0, 0, "f16 q8_0",
     "format of the KV cache; q8_0 takes half the memory and rounds"},
    {"engine.move", NULL, NULL, CHOICE, FIELD(move), "off", 0, 0, "on off",
     "reuse the KV of text that an edit shifted: a keystroke then costs the tokens typed whatever stands "
     "behind them, but suggestions may differ slightly until it is computed again"},
    {"engine.speculation", NULL, NULL, CHOICE, FIELD(speculation), "auto", 0, 0, "auto off",
     "guess tokens from the text at hand and verify several at once, where that pays; never changes what "
     "is suggested"},
    {"engine.sequences", NULL, NULL, INTEGER, FIELD(sequences), "16", 1, 256, NULL,
     "completions that the daemon computes at once; others wait"},
    {"engine.cpus", NULL, NULL, TEXT, FIELD(cpus), "", 0, 0, NULL,
     "processors that worker threads stay on, as in 0-3,6; unset: wherever the system puts them"},
    {"complete.max_tokens", NULL, "--max-tokens", INTEGER, FIELD(max_tokens), "64", 1, 4096, NULL,
     "longest suggestion, in tokens"},
    {"complete.confidence", NULL, NULL, INTEGER, FIELD(confidence), "50", 0, 100, NULL,
     "how sure the model must be of what is shown to somebody who types: the percentage that its words' "
     "probabilities have on (geometric) average; 0: everything is shown"},
    {"context.builder", NULL, NULL, CHOICE, FIELD(builder), "on", 0, 0, "on off",
     "show the model what else in the file, in open documents and in the project helps; off: the text around "
     "the cursor only"},
    {"context.project", NULL, NULL, CHOICE, FIELD(project), "on", 0, 0, "on off",
     "index what the files of an editor's folders define, in the background and in memory only; ignored "
     "files "
     "(.gitignore, .inlineignore) are left out"},
    {"context.tokens", NULL, NULL, INTEGER, FIELD(prompt_tokens), "2816", 128, 1 << 20, NULL,
     "tokens that a prompt has at most; one for a new place has about half as many, typing adds to it"},
    {"privacy.files", NULL, NULL, TEXT, FIELD(secret_files), "", 0, 0, NULL,
     "names of further files that hold secrets (*, ? and [] as in the shell; separated by spaces): nothing "
     "in them "
     "is ever shown to a model; .env, private keys and the like always count"},
    {"privacy.contents", NULL, NULL, TEXT, FIELD(secret_contents), "", 0, 0, NULL,
     "a regular expression for further secrets within texts: what it matches, or its first group, is masked "
     "in "
     "prompts"},
    {"cache.packs_mb", NULL, NULL, INTEGER, FIELD(packs_mb), "8000", 1, 1 << 20, NULL,
     "megabytes that the copies of models.pack may take on disk; the least recently used go first"},
    {"cache.kv_mb", NULL, NULL, INTEGER, FIELD(kv_mb), "1000", 0, 1 << 20, NULL,
     "megabytes of computed text (KV) kept on disk, so that a file that was completed before is not read "
     "again; the least recently used goes first; 0: nothing is kept"},
    {"cache.memory_mb", NULL, NULL, INTEGER, FIELD(memory_mb), "16", 0, 65536, NULL,
     "megabytes of suggestions that the daemon keeps in memory; 0: none"},
    {"cache.disk_mb", NULL, NULL, INTEGER, FIELD(disk_mb), "256", 0, 1 << 20, NULL,
     "megabytes of suggestions kept on disk, of all files; the least recently used go first; 0: none"},
    {"cache.projects_mb", NULL, NULL, INTEGER, FIELD(projects_mb), "192", 0, 1 << 20, NULL,
     "megabytes of suggestions kept on disk in databases of their own for the projects worked in lately, all "
     "of them together; 0: none"},
    {"cache.team", NULL, NULL, SECRET, FIELD(team), "", 0, 0, NULL,
     "a Valkey or Redis server on which a team shares suggestions: "
     "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:/PATH; unset: none"},
    {"cache.prefetch", NULL, NULL, CHOICE, FIELD(prefetch), "auto", 0, 0, "auto on off",
     "compute what is likely to be asked next while nobody waits; auto: not on battery"},
    {"serve.listen", NULL, "--listen", TEXT, FIELD(listen), "127.0.0.1:8012", 0, 0, NULL,
     "address and port on which `inline serve` answers HTTP; empty: none. Beyond this machine only with "
     "serve.token"},
    {"serve.socket", NULL, "--socket", TEXT, FIELD(socket), "", 0, 0, NULL,
     "the daemon's Unix socket; unset: $XDG_RUNTIME_DIR/inline/inline.sock"},
    {"serve.token", NULL, NULL, SECRET, FIELD(token), "", 0, 0, NULL,
     "what clients must send as `Authorization: Bearer TOKEN`; unset: nothing"},
    {"serve.origins", NULL, NULL, TEXT, FIELD(origins), "", 0, 0, NULL,
     "web pages that may ask (Origin headers, separated by spaces; * for all); unset: none"},
    {"serve.max_connections", NULL, NULL, INTEGER, FIELD(max_connections), "1024", 1, 65536, NULL,
     "clients connected at once; further ones are refused"},
    {"serve.idle_exit_s", NULL, "--idle-exit", INTEGER, FIELD(idle_exit_s), "0", 0, 31536000, NULL,
     "seconds without clients after which the daemon leaves; 0: it stays, but for one that `inline lsp` "
     "started, which leaves after 600"},
    {"batch.window_ms", NULL, NULL, INTEGER, FIELD(window_ms), "0", 0, 1000, NULL,
     "milliseconds that the first of several completions waits for others to be computed with it"},
    {"limits.governor", NULL, NULL, CHOICE, FIELD(governor), "on", 0, 0, "on off",
     "step back when the machine runs short of memory or processors, or runs on its battery; the following "
     "limits hold all the same"},
    {"limits.memory_mb", NULL, NULL, INTEGER, FIELD(limit_memory_mb), "0", 0, 1 << 24, NULL,
     "megabytes that the daemon takes at most, its models' mapped weights included; 0: what the machine or "
     "its "
     "control group allows"},
    {"limits.cpu_percent", NULL, NULL, INTEGER, FIELD(limit_cpu_percent), "100", 1, 100, NULL,
     "share of all processors' time that the daemon takes at most, averaged over some seconds"},
    {"limits.power", NULL, NULL, INTEGER, FIELD(power_percent), "100", 5, 100, NULL,
     "share of full speed at which completions are computed"},
    {"limits.battery_power", NULL, NULL, INTEGER, FIELD(battery_percent), "60", 5, 100, NULL,
     "the same while the machine runs on its battery"},
    {"journal.days", NULL, NULL, INTEGER, FIELD(journal_days), "0", 0, 3650, NULL,
     "days for which the daemon keeps what became of each request on disk, without any text, for `inline "
     "explain`; 0: the last 10,000 in memory only"},
    {"alerts.rules", NULL, NULL, TEXT, FIELD(alert_rules), "", 0, 0, NULL,
     "thresholds of alerts instead of the usual ones, as in slow-completions=0.5,hit-rate=off"},
    {"alerts.command", NULL, NULL, TEXT, FIELD(alert_command), "", 0, 0, NULL,
     "a shell command that is run when an alert fires and when it is over, with INLINE_ALERT, "
     "INLINE_ALERT_STATE and INLINE_ALERT_MESSAGE set; unset: none"},
    {"alerts.webhook", NULL, NULL, SECRET, FIELD(alert_webhook), "", 0, 0, NULL,
     "a URL that is posted to, in JSON, when an alert fires and when it is over; unset: none"},
    {"log.format", NULL, NULL, CHOICE, FIELD(log_format), "text", 0, 0, "text json",
     "how lines of the log look: for people, or a JSON object each"},
    {"log.level", NULL, "--log-level", CHOICE, FIELD(log_level), "warn", 0, 0, "error warn info debug",
     "what is logged to stderr"},
    {"log.text", NULL, NULL, CHOICE, FIELD(log_text), "off", 0, 0, "on off",
     "whether the daemon's log at level debug shows what clients send, which holds their documents; off: no "
     "text reaches a log"},
};

#define N_ROWS ((int)(sizeof rows / sizeof *rows))
_Static_assert(sizeof rows / sizeof *rows == SETTINGS_COUNT, "struct settings has one origin for each row");

static char **text_field(struct settings *s, const struct row *row)
{
    return (char **)((char *)s + row->offset);
}

static int32_t *integer_field(struct settings *s, const struct row *row)
{
    return (int32_t *)((char *)s + row->offset);
}

/* The value in force as text; `number` is used for integers. */
static const char *value_of(const struct settings *s, const struct row *row, char number[NUMBER_MAX])
{
    if (row->kind != INTEGER) return *(char *const *)((const char *)s + row->offset);
    snprintf(number, NUMBER_MAX, "%" PRId32, *(const int32_t *)((const char *)s + row->offset));
    return number;
}

static bool is_from_flag(const struct settings *s, int i)
{
    return s->origin[i][0] == '-';
}

/* "models.main" -> "INLINE_MODELS_MAIN". */
static void variable_name(const struct row *row, char out[VARIABLE_MAX])
{
    snprintf(out, VARIABLE_MAX, "INLINE_%s", row->key);
    for (char *c = out; *c; c++) {
        if (*c == '.') *c = '_';
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    }
}

/* --- Values ------------------------------------------------------------------------------------------ */

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    if (strchr(value, ' ')) return false;
    for (const char *c = choices; len > 0 && (c = strstr(c, value)); c += len) {
        if ((c == choices || c[-1] == ' ') && (c[len] == '\0' || c[len] == ' ')) return true;
    }
    return false;
}

/* Store a value that came from `origin`, which every message begins with. */
static enum err set_value(struct settings *s, int i, const char *value, const char *origin,
                          struct errmsg *msg)
{
    const struct row *row = &rows[i];
    if (row->kind == INTEGER) {
        char *end;
        errno = 0;
        long long number = strtoll(value, &end, 10);
        if (end == value || *end || errno || number < row->min || number > row->max) {
            return err_set(msg, ERR_ARG,
                           "%s: %s is a whole number from %" PRId32 " to %" PRId32 ", not \"%s\"", origin,
                           row->key, row->min, row->max, value);
        }
        *integer_field(s, row) = (int32_t)number;
    } else {
        bool is_reset = strcmp(value, row->initial) == 0;
        if (row->kind == CHOICE && !is_reset && !is_choice(row->choices, value)) {
            return err_set(msg, ERR_ARG, "%s: %s is one of: %s; not \"%s\"", origin, row->key, row->choices,
                           value);
        }
        mem_free(*text_field(s, row));
        *text_field(s, row) = mem_dup_str(value);
    }
    mem_free(s->origin[i]);
    s->origin[i] = mem_dup_str(origin);
    return OK;
}

static enum err set_defaults(struct settings *s, struct errmsg *msg)
{
    enum err err = OK;
    for (int i = 0; i < N_ROWS && !err; i++) err = set_value(s, i, rows[i].initial, "default", msg);
    return err;
}

/* --- The file ---------------------------------------------------------------------------------------- */

struct file_reader {
    struct settings *settings;
    const char *path;
    const char *next; /* unread text */
    int line;         /* number of the line that was read last; reading stops at the first error */
    bool is_indented; /* that line: libinih takes it for more of the value before */
    bool is_set[SETTINGS_COUNT];
    enum err err; /* first failure */
    struct errmsg *msg;
};

/* "FILE:3" of the line that was read last, for as long as out is. */
static const char *origin_of(const struct file_reader *r, struct buf *out)
{
    buf_init(out, TEXT_LIMIT);
    buf_printf(out, "%s:%d", r->path, r->line);
    return buf_str(out);
}

/* What libinih does not tell: a section that begins, though it may have no keys, and whether a line is
 * indented. */
static void look_at_line(struct file_reader *r, size_t len)
{
    struct buf origin;
    r->is_indented = *r->next == ' ' || *r->next == '\t';
    if (*r->next != '[') return;
    r->err = settings_models_begin(r->settings, r->next, len, origin_of(r, &origin), r->msg);
    buf_clear(&origin);
}

/* fgets over the text in memory; libinih's own readers do not tell us line numbers. */
static char *read_line(char *out, int size, void *user)
{
    struct file_reader *r = user;
    if (!*r->next || size <= 0 || r->err) return NULL;
    size_t len = strcspn(r->next, "\n");
    r->line++;
    if (len > INI_LINE_MAX - 1) {
        r->err = err_set(r->msg, ERR_FORMAT, "%s:%d: the line is longer than %d bytes", r->path, r->line,
                         INI_LINE_MAX - 1);
        return NULL;
    }
    look_at_line(r, len);
    size_t used = len + (r->next[len] == '\n');
    if (used >= (size_t)size) used = (size_t)size - 1;
    memcpy(out, r->next, used);
    out[used] = '\0';
    r->next += used;
    return out;
}

static enum err unknown_key(const struct file_reader *r, const char *key)
{
    struct nearest nearest;
    nearest_init(&nearest, key);
    for (int i = 0; i < N_ROWS; i++) nearest_offer(&nearest, rows[i].key);
    if (nearest.best) {
        return err_set(r->msg, ERR_ARG, "%s:%d: unknown setting %s; did you mean %s?", r->path, r->line, key,
                       nearest.best);
    }
    return err_set(r->msg, ERR_ARG, "%s:%d: unknown setting %s; inline config lists them", r->path, r->line,
                   key);
}

static enum err set_key(struct file_reader *r, const char *key, const char *value, const char *origin)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].key, key) != 0) continue;
        if (r->is_set[i]) return err_set(r->msg, ERR_ARG, "%s: %s is set twice", origin, key);
        r->is_set[i] = true;
        return set_value(r->settings, i, value, origin, r->msg);
    }
    return unknown_key(r, key);
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct file_reader *r = user;
    struct buf buf;
    char key[INI_LINE_MAX * 2];
    if (r->err) return 0;
    const char *origin = origin_of(r, &buf);
    snprintf(key, sizeof key, "%s.%s", section, name);
    r->err = settings_models_own(section)
                 ? settings_models_set(r->settings, name, value, r->is_indented, origin, r->msg)
                 : set_key(r, key, value, origin);
    buf_clear(&buf);
    return !r->err;
}

static enum err load_file(struct settings *s, const char *path, bool must_exist, struct errmsg *msg)
{
    struct buf text;
    buf_init(&text, FILE_LIMIT);
    enum err err = file_read(path, &text, msg);
    if (err == ERR_NOT_FOUND && !must_exist) {
        if (msg) msg->text[0] = '\0';
        return OK;
    }
    struct file_reader r = {.settings = s, .path = path, .next = buf_str(&text), .msg = msg};
    if (!err && strlen(r.next) != text.len) err = err_set(msg, ERR_FORMAT, "%s: not a text file", path);
    if (!err) {
        int line = ini_parse_stream(read_line, &r, on_pair, &r);
        err = r.err;
        /* The number of the first bad line: ours, or an earlier one that libinih could not make sense of. */
        if (line < 0) err = err_set(msg, ERR_NOMEM, "%s: %s", path, err_text(ERR_NOMEM));
        if (line > 0 && (!err || line < r.line)) {
            err = err_set(msg, ERR_FORMAT, "%s:%d: neither [section] nor key = value", path, line);
        }
        if (!err) err = settings_models_check(s, msg);
    }
    buf_clear(&text);
    return err;
}

/* --- The environment --------------------------------------------------------------------------------- */

/* The row that an environment variable sets; -1 if none. */
static int row_of_variable(const char *name, size_t len)
{
    for (int i = 0; i < N_ROWS; i++) {
        char variable[VARIABLE_MAX];
        variable_name(&rows[i], variable);
        const char *alias = rows[i].alias;
        if (strlen(variable) == len && strncmp(variable, name, len) == 0) return i;
        if (alias && strlen(alias) == len && strncmp(alias, name, len) == 0) return i;
    }
    return -1;
}

static enum err load_environment(struct settings *s, struct errmsg *msg)
{
    enum err err = OK;
    for (char **e = environ; *e && !err; e++) {
        const char *value = strchr(*e, '=');
        if (strncmp(*e, "INLINE_", 7) != 0 || !value) continue;
        size_t len = (size_t)(value - *e);
        if (len == strlen("INLINE_CONFIG") && strncmp(*e, "INLINE_CONFIG", len) == 0) continue;
        char name[VARIABLE_MAX];
        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), *e);
        int i = row_of_variable(*e, len);
        if (i < 0) {
            err = err_set(msg, ERR_ARG, "unknown environment variable %s; inline config lists the settings",
                          name);
        } else {
            err = set_value(s, i, value + 1, name, msg);
        }
    }
    return err;
}

/* --- The command line -------------------------------------------------------------------------------- */

struct flags {
    const char *value[SETTINGS_COUNT]; /* views into argv, or null */
    const char *config;                /* --config, or null */
};

/* "--flag VALUE" or "--flag=VALUE": true if argv[*i] is this flag; *value is null if it is missing. */
static bool flag_is(const char *flag, int argc, char **argv, int *i, const char **value)
{
    size_t len = strlen(flag);
    if (strncmp(argv[*i], flag, len) != 0) return false;
    if (argv[*i][len] == '=') {
        *value = argv[*i] + len + 1;
        return true;
    }
    if (argv[*i][len] != '\0') return false;
    *value = *i + 1 < argc ? argv[++*i] : NULL;
    return true;
}

/* Move the settings' flags from argv to *out. */
static enum err take_flags(int *argc, char **argv, struct flags *out, struct errmsg *msg)
{
    int kept = 1, i = 1;
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value = NULL, *flag = NULL;
        int at = i;
        if (flag_is("--config", *argc, argv, &i, &value)) {
            flag = "--config";
            out->config = value;
        }
        for (int row = 0; row < N_ROWS && !flag; row++) {
            if (!rows[row].flag || !flag_is(rows[row].flag, *argc, argv, &i, &value)) continue;
            flag = rows[row].flag;
            out->value[row] = value;
        }
        if (flag && !value) return err_set(msg, ERR_ARG, "%s needs a value", flag);
        if (!flag) argv[kept++] = argv[at];
    }
    while (i < *argc) argv[kept++] = argv[i++];
    argv[kept] = NULL;
    *argc = kept;
    return OK;
}

/* File, environment and flags, in this order. */
static enum err load(const struct flags *flags, struct settings *out, struct errmsg *msg)
{
    *out = (struct settings){0};
    enum err err = set_defaults(out, msg);
    const char *config = flags->config ? flags->config : getenv("INLINE_CONFIG");
    char *usual = dirs_path(DIR_CONFIG, "inline.conf");
    if (!err) err = load_file(out, config ? config : usual, config != NULL, msg);
    if (!err) err = load_environment(out, msg);
    for (int i = 0; i < N_ROWS && !err; i++) {
        if (flags->value[i]) err = set_value(out, i, flags->value[i], rows[i].flag, msg);
    }
    out->config = flags->config ? mem_dup_str(flags->config) : NULL;
    mem_free(usual);
    if (err) settings_clear(out);
    return err;
}

enum err settings_load(int *argc, char **argv, struct settings *out, struct errmsg *msg)
{
    struct flags flags = {0};
    *out = (struct settings){0};
    enum err err = take_flags(argc, argv, &flags, msg);
    return err ? err : load(&flags, out, msg);
}

enum err settings_reload(const struct settings *before, struct settings *out, struct errmsg *msg)
{
    char numbers[SETTINGS_COUNT][NUMBER_MAX];
    struct flags flags = {.config = before->config};
    for (int i = 0; i < N_ROWS; i++) {
        if (is_from_flag(before, i)) flags.value[i] = value_of(before, &rows[i], numbers[i]);
    }
    return load(&flags, out, msg);
}

void settings_each_flag(const struct settings *s, void (*fn)(void *ctx, const char *flag, const char *value),
                        void *ctx)
{
    for (int i = 0; i < N_ROWS; i++) {
        char number[NUMBER_MAX];
        if (is_from_flag(s, i)) fn(ctx, rows[i].flag, value_of(s, &rows[i], number));
    }
    if (s->config) fn(ctx, "--config", s->config);
}

bool settings_has_override(const struct settings *s, const char *prefix)
{
    for (int i = 0; i < N_ROWS; i++) {
        bool is_file = s->origin[i][0] == '/' || strcmp(s->origin[i], "default") == 0;
        if (strncmp(rows[i].key, prefix, strlen(prefix)) == 0 && !is_file) return true;
    }
    return false;
}

bool settings_is_default(const struct settings *s, const char *key)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].key, key) == 0) return strcmp(s->origin[i], "default") == 0;
    }
    return false;
}

void settings_clear(struct settings *s)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].kind != INTEGER) mem_free(*text_field(s, &rows[i]));
        mem_free(s->origin[i]);
    }
    settings_models_clear(s);
    mem_free(s->config);
    *s = (struct settings){0};
}

/* --- For people -------------------------------------------------------------------------------------- */

void settings_describe_flags(struct buf *out)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].flag) buf_printf(out, "  %-14s %s\n", rows[i].flag, rows[i].help);
    }
    buf_printf(out, "  %-14s %s\n", "--config", "settings file; usual: $XDG_CONFIG_HOME/inline/inline.conf");
}

void settings_describe_markdown(struct buf *out)
{
    buf_add_str(
        out,
        "# Configuration\n\n"
        "Settings are read from `$XDG_CONFIG_HOME/inline/inline.conf` (usually\n"
        "`~/.config/inline/inline.conf`; `--config FILE` or `INLINE_CONFIG` names another), then from the\n"
        "environment, then from the command line; the last one wins. A wrong name or value is an error that\n"
        "says where it stands. `inline config` shows what is in force and where it came from.\n\n"
        "```ini\n[models]\nmain = qwen2.5-coder-1.5b\n\n[engine]\nthreads = 4\n```\n\n"
        "| setting | environment | flag | default | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; i < N_ROWS; i++) {
        char variable[VARIABLE_MAX];
        const struct row *row = &rows[i];
        variable_name(row, variable);
        buf_printf(out, "| `%s` | `%s`", row->key, variable);
        if (row->alias) buf_printf(out, ", `%s`", row->alias);
        buf_add_str(out, " | ");
        if (row->flag) buf_printf(out, "`%s`", row->flag);
        buf_printf(out, *row->initial ? " | `%s`" : " | unset%s", row->initial);
        buf_printf(out, " | %s", row->help);
        if (row->kind == INTEGER) buf_printf(out, " (%" PRId32 " to %" PRId32 ")", row->min, row->max);
        if (row->kind == CHOICE) buf_printf(out, " (one of: %s)", row->choices);
        buf_add_str(out, " |\n");
    }
    settings_models_describe_markdown(out);
    buf_add_str(out, "\nThis page is written by `inline config --markdown`.\n");
}

/* The same for people to see. */
static const char *value_text(const struct settings *s, const struct row *row, char number[NUMBER_MAX])
{
    const char *value = value_of(s, row, number);
    return row->kind == SECRET && *value ? "set" : value;
}

void settings_report(const struct settings *s, struct buf *out)
{
    for (int i = 0; i < N_ROWS; i++) {
        char number[NUMBER_MAX];
        const char *value = value_text(s, &rows[i], number);
        buf_printf(out, "%-20s %-28s %s\n", rows[i].key, *value ? value : "(unset)", s->origin[i]);
    }
    settings_models_report(s, out);
}

void settings_report_json(const struct settings *s, struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    for (int i = 0; i < N_ROWS; i++) {
        char number[NUMBER_MAX];
        json_begin_object(&j, rows[i].key);
        if (rows[i].kind == INTEGER) {
            json_int(&j, "value", *(const int32_t *)((const char *)s + rows[i].offset));
        } else {
            json_str(&j, "value", value_text(s, &rows[i], number));
        }
        json_str(&j, "origin", s->origin[i]);
        json_end_object(&j);
    }
    settings_models_report_json(s, &j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}
