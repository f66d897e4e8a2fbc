/* One file of a project: whether it is worth indexing, and what is kept of it. A file that is not worth it is
 * kept as an empty record, so that it need not be read again before it changes.
 *
 * Secrets are masked in the whole text before anything is taken from it, so that none is missed because only
 * a part of it stands in a signature. Thread: indexer. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#include "base/mem.h"
#include "context/project_impl.h"
#include "context/secrets.h"
#include "context/syntax.h"
#include "context/text.h"
#include "os/clock.h"
#include "os/file.h"

#define FILE_BYTES_MAX      ((size_t)512 << 10) /* longer sources are mostly data or generated */
#define LINE_BYTES_AVERAGE  300                 /* above: minified; people write 30 to 40 */
#define HEAD_LINES          10                  /* where generators say what they are */
#define SIGNATURE_BYTES_MAX 400                 /* a comment of four lines and a signature of two */
#define NAME_BYTES_MAX      255
#define UNITS_MAX           4096
#define SLICE_MS            4   /* of parsing, between looks at whether somebody types */
#define SLICES_MAX          500 /* a file that takes longer is outlined without a tree */
#define FRESH_NS            ((int64_t)100 * 1000 * 1000) /* file systems' clocks are coarser than two writes */

/* What is being made of a text. */
struct digest {
    const struct language *language;
    struct text text;
    struct outline outline;
    struct project_unit *units;
    struct project_import *imports;
    int32_t n_units, n_imports;
    struct buf pool; /* the path first */
};

bool project_file_is_wanted(const struct project *p, const char *path)
{
    static const char *const without_names[] = {"html", "xml",        "css",      "scss", "less",
                                                "sass", "json",       "jsonc",    "yaml", "toml",
                                                "ini",  "dockerfile", "makefile", "diff"};
    const struct language *l = language_of_path(path, NULL, 0);
    if (l->is_prose || strlen(path) >= PROJECT_PATH_MAX || secrets_is_file(p->secrets, path)) return false;
    for (size_t i = 0; i < sizeof without_names / sizeof *without_names; i++) {
        if (strcmp(l->name, without_names[i]) == 0) return false;
    }
    return true;
}

static bool says(const char *head, size_t len, const char *words)
{
    return memmem(head, len, words, strlen(words)) != NULL;
}

/* Written by people, as far as one can tell. */
static bool is_source(const char *text, size_t len)
{
    size_t n_lines = 1, head_len = len;
    if (len > FILE_BYTES_MAX || memchr(text, '\0', len)) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\n') continue;
        if (n_lines++ == HEAD_LINES) head_len = i;
    }
    if (len / n_lines > LINE_BYTES_AVERAGE) return false;
    return !says(text, head_len, "@generated") && !says(text, head_len, "DO NOT EDIT");
}

uint64_t project_file_words(const char *text, size_t len)
{
    uint64_t words = 0;
    for (size_t at = 0; at < len;) {
        size_t start = at;
        while (at < len && !strchr("/\\.:{}*,\"$() \t", text[at])) at++; /* the NUL also ends a word */
        if (at > start) words |= UINT64_C(1) << (XXH3_64bits(text + start, at - start) & 63);
        at++;
    }
    return words;
}

/* ---- From text to digest */

/* A tree, if the language has a grammar and it is done in time. False: the project is being closed. */
static bool parse(struct project *p, struct digest *d, struct syntax **out)
{
    struct syntax *s = syntax_new(d->language);
    *out = NULL;
    for (int32_t i = 0; s && i < SLICES_MAX; i++) {
        int64_t start = clock_ns();
        if (syntax_parse(s, d->text.bytes, d->text.len, SLICE_MS)) {
            *out = s;
            return true;
        }
        if (!project_may_go_on(p)) {
            syntax_free(&s);
            return false;
        }
        if (clock_ms_since(start) < SLICE_MS / 2.0) break; /* it was not for time */
    }
    syntax_free(&s);
    return true;
}

/* What can be named from elsewhere: not what is inside of functions, and not a mere block. */
static bool is_definition(const struct outline *o, const struct outline_unit *u, bool *is_top)
{
    *is_top = true;
    if (u->name_len == 0 || u->name_len > NAME_BYTES_MAX || u->kind == OUTLINE_BLOCK) return false;
    for (int32_t i = u->parent; i >= 0; i = o->units[i].parent) {
        if (o->units[i].kind == OUTLINE_FUNCTION) return false;
        if (o->units[i].kind == OUTLINE_TYPE) *is_top = false;
    }
    return true;
}

static void add_unit(struct digest *d, int32_t number, int32_t line, bool is_top)
{
    const struct outline_unit *u = &d->outline.units[number];
    const char *name = d->text.bytes + u->name;
    struct buf text;
    buf_init(&text, SIGNATURE_BYTES_MAX + 16); /* its end may have to be closed */
    outline_write_signature(&d->outline, number, d->language, d->text.bytes, SIGNATURE_BYTES_MAX, &text);
    if (text.len == 0 || text.err) {
        if (text.err == ERR_NOMEM) d->pool.err = text.err;
        buf_clear(&text);
        return;
    }
    if (text.data[text.len - 1] != '\n') buf_add_char(&text, '\n');
    struct project_unit *out = &d->units[d->n_units++];
    *out = (struct project_unit){.text = (uint32_t)d->pool.len,
                                 .text_len = (uint16_t)text.len,
                                 .name_len = (uint16_t)u->name_len,
                                 .name_hash = project_table_hash(name, u->name_len),
                                 .line = line,
                                 .kind = (uint8_t)u->kind,
                                 .is_top = is_top,
                                 .has_comment = u->comment < u->start};
    const char *within = memmem(text.data, text.len, name, u->name_len);
    buf_add(&d->pool, text.data, text.len);
    out->name = within ? out->text + (uint32_t)(within - text.data) : (uint32_t)d->pool.len;
    if (!within) buf_add(&d->pool, name, u->name_len);
    buf_clear(&text);
}

static enum err add_units(struct digest *d)
{
    const struct outline *o = &d->outline;
    int32_t line = 1, most = o->n_units < UNITS_MAX ? o->n_units : UNITS_MAX;
    size_t at = 0;
    d->units = mem_try((size_t)most, sizeof *d->units);
    if (!d->units) return ERR_NOMEM;
    for (int32_t i = 0; i < o->n_units && d->n_units < most; i++) {
        for (; at < o->units[i].start; at++) line += d->text.bytes[at] == '\n';
        bool is_top;
        if (is_definition(o, &o->units[i], &is_top)) add_unit(d, i, line, is_top);
    }
    return d->pool.err;
}

static enum err add_imports(struct digest *d)
{
    const struct outline *o = &d->outline;
    d->imports = mem_try((size_t)o->n_imports, sizeof *d->imports);
    if (!d->imports) return ERR_NOMEM;
    for (int32_t i = 0; i < o->n_imports; i++) {
        const struct outline_import *import = &o->imports[i];
        if (import->target_len == 0 || import->target_len >= PROJECT_PATH_MAX) continue;
        const char *target = d->text.bytes + import->target;
        d->imports[d->n_imports++] =
            (struct project_import){.words = project_file_words(target, import->target_len),
                                    .target = (uint32_t)d->pool.len,
                                    .target_len = (uint16_t)import->target_len};
        buf_add(&d->pool, target, import->target_len);
    }
    return d->pool.err;
}

/* Valid UTF-8, without secrets. */
static enum err clean(const struct project *p, struct digest *d, const char *bytes, size_t len)
{
    struct buf masked;
    int32_t n_secrets;
    enum err err = text_init(&d->text, bytes, len);
    if (err) return err;
    buf_init(&masked, 4 * FILE_BYTES_MAX);
    err = secrets_mask(p->secrets, d->text.bytes, d->text.len, &masked, &n_secrets);
    if (!err && n_secrets > 0) {
        text_clear(&d->text);
        err = text_init(&d->text, buf_str(&masked), masked.len);
    }
    buf_clear(&masked);
    return err;
}

/* ERR_CANCELLED: the project is being closed. */
static enum err digest_text(struct project *p, struct digest *d, const char *bytes, size_t len)
{
    enum err err = clean(p, d, bytes, len);
    if (err) return err;
    struct syntax *s;
    if (!parse(p, d, &s)) return ERR_CANCELLED;
    err = outline_build(d->language, s, d->text.bytes, d->text.len, &d->outline);
    syntax_free(&s);
    if (!err) err = add_units(d);
    if (!err) err = add_imports(d);
    return err;
}

static void digest_clear(struct digest *d)
{
    text_clear(&d->text);
    outline_clear(&d->outline);
    mem_free(d->units);
    mem_free(d->imports);
    buf_clear(&d->pool);
}

/* ---- From digest to file */

size_t project_file_stem(const struct project_file *f)
{
    const char *dot = *f->name ? strchr(f->name + 1, '.') : NULL;
    return dot ? (size_t)(dot - f->name) : strlen(f->name);
}

const char *project_file_folder(const struct project_file *f, size_t *len)
{
    const char *end = f->name > f->path ? f->name - 1 : f->path, *start = end;
    while (start > f->path && start[-1] != '/') start--;
    *len = (size_t)(end - start);
    return start;
}

/* Whether imports of its folder mean this file. */
static bool is_for_folder(const struct project_file *f)
{
    static const char *const stems[] = {"index", "__init__", "mod", "init"};
    size_t len = project_file_stem(f);
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        if (strlen(stems[i]) == len && memcmp(stems[i], f->name, len) == 0) return true;
    }
    return strcmp(f->language->name, "go") == 0;
}

static void set_words(struct project_file *f)
{
    size_t folder_len;
    const char *folder = project_file_folder(f, &folder_len);
    f->is_for_folder = is_for_folder(f);
    f->words = project_file_words(f->name, project_file_stem(f));
    if (f->is_for_folder) f->words |= project_file_words(folder, folder_len);
}

/* One block: the file, its imports, its units, its pool, in the order of their alignment. Null: no memory. */
static struct project_file *make_file(const struct digest *d, const struct stat *st)
{
    size_t units = (size_t)d->n_units * sizeof *d->units, imports = (size_t)d->n_imports * sizeof *d->imports;
    size_t bytes = sizeof(struct project_file) + units + imports + d->pool.len;
    char *block = d->pool.err ? NULL : mem_try(1, bytes);
    if (!block) return NULL;
    struct project_file *f = (struct project_file *)(void *)block;
    block += sizeof *f;
    *f = (struct project_file){
        .n_bytes = st->st_size, .block_bytes = bytes, .n_units = d->n_units, .n_imports = d->n_imports};
    f->imports = (struct project_import *)(void *)block;
    f->units = (struct project_unit *)(void *)(block + imports);
    f->pool = block + units + imports;
    f->path = f->pool;
    const char *slash = strrchr(d->pool.data, '/');
    f->name = f->path + (slash ? slash + 1 - d->pool.data : 0);
    f->language = d->language;
    if (units) memcpy(f->units, d->units, units);
    if (imports) memcpy(f->imports, d->imports, imports);
    memcpy(f->pool, d->pool.data, d->pool.len);
    set_words(f);
    return f;
}

static int64_t time_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* A file written a moment ago may be written again without a later time. */
static int64_t trusted_time(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - time_of(st);
    return age < FRESH_NS ? 0 : time_of(st);
}

/* What is kept of a text; of one that is not worth it, or cannot be told, the path alone. `bytes` null: it
 * was too long to be read. ERR_CANCELLED, ERR_NOMEM. */
static enum err make_record(struct project *p, const char *path, const struct buf *bytes,
                            const struct stat *st, struct project_file **out)
{
    const char *text = bytes ? buf_str(bytes) : "";
    size_t len = bytes ? bytes->len : 0;
    struct digest d = {.language = language_of_path(path, text, len)};
    buf_init(&d.pool, 2 * FILE_BYTES_MAX);
    buf_add(&d.pool, path, strlen(path) + 1);
    enum err err = bytes && is_source(text, len) ? digest_text(p, &d, text, len) : ERR_FORMAT;
    bool is_skipped = err != OK;
    if (is_skipped) {
        d.n_units = d.n_imports = 0;
        buf_reset(&d.pool);
        buf_add(&d.pool, path, strlen(path) + 1);
    }
    *out = err == ERR_CANCELLED || err == ERR_NOMEM ? NULL : make_file(&d, st);
    if (*out) {
        (*out)->is_skipped = is_skipped;
        err = OK;
    } else if (err != ERR_CANCELLED) {
        err = ERR_NOMEM;
    }
    digest_clear(&d);
    return err;
}

enum project_outcome project_file_read(struct project *p, const char *path, struct project_file *known,
                                       struct project_file **out)
{
    struct buf full, bytes;
    struct stat st;
    *out = NULL;
    buf_init(&full, 2 * PATH_MAX);
    buf_printf(&full, "%s/%s", p->root, path);
    buf_init(&bytes, FILE_BYTES_MAX);
    enum project_outcome outcome = PROJECT_GONE;
    if (full.err || lstat(full.data, &st) != 0 || !S_ISREG(st.st_mode)) goto done;
    int64_t trusted =
        trusted_time(&st); /* before it is read: that may take until the time looks old enough */
    outcome = PROJECT_UNCHANGED;
    bool is_same_size = known && known->n_bytes == st.st_size;
    if (is_same_size && known->time_ns && known->time_ns == time_of(&st)) goto done;
    enum err err = file_read(full.data, &bytes, NULL);
    uint64_t hash = XXH3_64bits(buf_str(&bytes), bytes.len);
    if (is_same_size && !err && known->hash == hash) {
        known->time_ns = trusted;
        goto done;
    }
    if (!err || err == ERR_LIMIT) err = make_record(p, path, err ? NULL : &bytes, &st, out);
    outcome = !err ? PROJECT_READ : err == ERR_CANCELLED ? PROJECT_STOPPED : PROJECT_GONE;
    if (*out) {
        (*out)->hash = hash;
        (*out)->time_ns = trusted;
    }
done:
    buf_clear(&full);
    buf_clear(&bytes);
    return outcome;
}
