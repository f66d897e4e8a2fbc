/* From imports as they are written to files of the project, by the rules of each language as far as they can
 * be told without its build system: a path relative to the importing file where the language has such, else
 * the file whose path ends in what the import says. Of several, the one that has most folders in common with
 * the importing file, then the shortest path, then the first in order. What is found serves to prefer
 * definitions; a guess costs little, and nothing is read. */
#include <string.h>

#include "context/project_impl.h"

/* More files of one name than this tell nothing ("index.ts" is found by relative paths). */
#define SAME_NAME_MAX 4096

/* An import being resolved. */
struct query {
    const struct project_table *table;
    const char *from;
    size_t from_dir; /* length of from's folder, with its slash */
};

/* A path under construction. Adding past the end makes it invalid, as does going up from the root. */
struct path {
    char bytes[PROJECT_PATH_MAX];
    size_t len;
    bool is_invalid;
};

size_t project_resolve_common(const char *a, const char *b)
{
    size_t common = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
        if (a[i] == '/') common = i + 1;
    }
    return common;
}

static void path_add(struct path *p, const char *bytes, size_t len)
{
    if (p->len + len >= sizeof p->bytes) p->is_invalid = true;
    if (p->is_invalid) return;
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
    p->bytes[p->len] = '\0';
}

static void path_up(struct path *p)
{
    if (p->len == 0) p->is_invalid = true;
    if (p->len > 0) p->len--; /* its slash */
    while (p->len > 0 && p->bytes[p->len - 1] != '/') p->len--;
    p->bytes[p->len] = '\0';
}

/* Start with the first len bytes of from: a folder, with its slash. */
static struct path path_in(const char *from, size_t len)
{
    struct path p = {0};
    path_add(&p, from, len);
    return p;
}

/* Add parts that stand between slashes, following "." and "..". */
static void path_join(struct path *p, const char *parts, size_t len)
{
    const char *end = parts + len;
    while (parts < end) {
        const char *slash = memchr(parts, '/', (size_t)(end - parts));
        size_t n = (size_t)((slash ? slash : end) - parts);
        if (n == 2 && memcmp(parts, "..", 2) == 0) {
            path_up(p);
        } else if (n > 0 && !(n == 1 && *parts == '.')) {
            path_add(p, parts, n);
            if (slash) path_add(p, "/", 1);
        }
        parts += n + 1;
    }
}

/* The parts of "a.b.c" or "a::b::c" with slashes in between. */
static struct path path_of_module(const char *target, size_t len, const char *separator)
{
    struct path p = {0};
    size_t sep_len = strlen(separator);
    for (size_t at = 0; at < len;) {
        bool is_sep = len - at >= sep_len && memcmp(target + at, separator, sep_len) == 0;
        path_add(&p, is_sep ? "/" : target + at, 1);
        at += is_sep ? sep_len : 1;
    }
    return p;
}

/* The file whose path is p and the ending. */
static const struct project_file *find_exact(const struct query *q, const struct path *p, const char *ending)
{
    struct path whole = *p;
    path_add(&whole, ending, strlen(ending));
    return whole.is_invalid ? NULL : project_table_file(q->table, whole.bytes, whole.len);
}

/* Whether a is the better answer. */
static bool is_nearer(const struct query *q, const struct project_file *a, const struct project_file *b)
{
    size_t a_common = project_resolve_common(a->path, q->from),
           b_common = project_resolve_common(b->path, q->from);
    if (a_common != b_common) return a_common > b_common;
    size_t a_len = strlen(a->path), b_len = strlen(b->path);
    if (a_len != b_len) return a_len < b_len;
    return strcmp(a->path, b->path) < 0;
}

static bool ends_with_parts(const char *path, const struct path *parts)
{
    size_t len = strlen(path);
    return len >= parts->len && memcmp(path + len - parts->len, parts->bytes, parts->len) == 0 &&
           (len == parts->len || path[len - parts->len - 1] == '/');
}

/* The nearest file whose path ends in p and the ending. */
static const struct project_file *find_suffix(const struct query *q, const struct path *p, const char *ending)
{
    struct path whole = *p;
    path_add(&whole, ending, strlen(ending));
    if (whole.is_invalid || whole.len == 0) return NULL;
    const char *slash = strrchr(whole.bytes, '/'), *name = slash ? slash + 1 : whole.bytes;
    uint32_t n;
    const struct project_link *l =
        project_map_first(&q->table->names, project_table_hash(name, strlen(name)), &n);
    const struct project_file *best = NULL;
    for (; l && n <= SAME_NAME_MAX; l = project_map_next(&q->table->names, l)) {
        if (ends_with_parts(l->file->path, &whole) && (!best || is_nearer(q, l->file, best))) best = l->file;
    }
    return best;
}

typedef const struct project_file *find_fn(const struct query *q, const struct path *p, const char *ending);

/* The first of several endings, null-terminated, that gives a file. */
static const struct project_file *find_any(const struct query *q, const struct path *p, find_fn *find,
                                           const char *const *endings)
{
    const struct project_file *f = NULL;
    for (; *endings && !f; endings++) f = find(q, p, *endings);
    return f;
}

/* ---- Languages */

/* C and what has no rules of its own: relative to the file, else anywhere. */
static const struct project_file *resolve_path(const struct query *q, const char *target, size_t len)
{
    struct path p = path_in(q->from, q->from_dir), parts = {0};
    path_join(&p, target, len);
    const struct project_file *f = find_exact(q, &p, "");
    if (f) return f;
    while (len > 3 && memcmp(target, "../", 3) == 0) target += 3, len -= 3;
    path_join(&parts, target, len);
    return find_suffix(q, &parts, "");
}

static const struct project_file *resolve_python(const struct query *q, const char *target, size_t len)
{
    static const char *const endings[] = {".py", "/__init__.py", ".pyi", "/__init__.pyi", NULL};
    static const char *const packages[] = {"__init__.py", "__init__.pyi", NULL};
    size_t dots = 0;
    while (dots < len && target[dots] == '.') dots++;
    struct path module = path_of_module(target + dots, len - dots, ".");
    if (dots == 0) return find_any(q, &module, find_suffix, endings);
    struct path p = path_in(q->from, q->from_dir);
    for (size_t i = 1; i < dots; i++) path_up(&p);
    path_add(&p, module.bytes, module.len);
    p.is_invalid |= module.is_invalid;
    return find_any(q, &p, find_exact, module.len > 0 ? endings : packages);
}

/* "@/" and "~/" commonly stand for the folder of the sources; other bare names are packages. */
static const struct project_file *resolve_script(const struct query *q, const char *target, size_t len)
{
    static const char *const endings[] = {"",          ".ts",        ".tsx",      ".d.ts",      ".js",
                                          ".jsx",      ".mjs",       ".cjs",      ".mts",       ".cts",
                                          "/index.ts", "/index.tsx", "/index.js", "/index.jsx", NULL};
    static const char *const sources[] = {".ts", ".tsx", ".mts", NULL};
    bool is_alias = len > 2 && (target[0] == '@' || target[0] == '~') && target[1] == '/';
    if (!is_alias && (len == 0 || target[0] != '.')) return NULL;
    find_fn *find = is_alias ? find_suffix : find_exact;
    struct path p = is_alias ? (struct path){0} : path_in(q->from, q->from_dir);
    path_join(&p, target + 2 * is_alias, len - 2 * is_alias);
    while (p.len > 0 && p.bytes[p.len - 1] == '/') p.bytes[--p.len] = '\0'; /* "..": a folder */
    const struct project_file *f = find_any(q, &p, find, endings);
    if (f) return f;
    /* TypeScript's imports may name what the compiler will write. */
    char *dot = strrchr(p.bytes, '.');
    if (!dot || (strcmp(dot, ".js") != 0 && strcmp(dot, ".mjs") != 0 && strcmp(dot, ".jsx") != 0))
        return NULL;
    p.len = (size_t)(dot - p.bytes);
    *dot = '\0';
    return find_any(q, &p, find, sources);
}

/* How many of the target's last parts a folder's path ends in. */
static int32_t n_common_parts(const char *folder, size_t folder_len, const char *target, size_t len)
{
    int32_t n = 0;
    for (size_t i = 1; i <= folder_len && i <= len; i++) {
        bool ends_part = i == folder_len || folder[folder_len - i - 1] == '/';
        if (folder[folder_len - i] != target[len - i]) break;
        if (ends_part && (i == len || target[len - i - 1] == '/')) n++;
    }
    return n;
}

/* A package is a folder, whose path begins with the module's name, which the build knows: so of the target's
 * parts some at the beginning need not be found. All but one must be, where the first does not look like a
 * host: "encoding/json" is the standard library's. The answer is one of the folder's files. */
static const struct project_file *resolve_go(const struct query *q, const char *target, size_t len)
{
    size_t start = len;
    while (start > 0 && target[start - 1] != '/') start--;
    if (start == 0) return NULL;
    const char *first_end = memchr(target, '/', len);
    bool is_host = memchr(target, '.', (size_t)(first_end - target)) != NULL;
    int32_t n_parts = 1, n_best = 0;
    for (size_t i = 0; i < len; i++) n_parts += target[i] == '/';
    int32_t n_needed = is_host || n_parts <= 1 ? 1 : n_parts <= 2 ? 2 : n_parts - 1;
    uint32_t n;
    const struct project_link *l =
        project_map_first(&q->table->folders, project_table_hash(target + start, len - start), &n);
    const struct project_file *best = NULL;
    for (; l && n <= SAME_NAME_MAX; l = project_map_next(&q->table->folders, l)) {
        const struct project_file *f = l->file;
        if (f->name == f->path || strcmp(f->language->name, "go") != 0) continue;
        int32_t parts = n_common_parts(f->path, (size_t)(f->name - f->path) - 1, target, len);
        if (parts < n_needed || parts < n_best) continue;
        if (parts > n_best || is_nearer(q, f, best)) best = f;
        n_best = parts;
    }
    return best;
}

/* The folder of a Rust file's submodules, with its slash: a/b/ for a/b.rs, a/ for a/mod.rs. */
static struct path rust_children(const struct query *q)
{
    static const char *const owners[] = {"mod.rs", "lib.rs", "main.rs", "build.rs"};
    const char *name = q->from + q->from_dir;
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        if (strcmp(name, owners[i]) == 0) return path_in(q->from, q->from_dir);
    }
    const char *dot = strrchr(name, '.');
    struct path p = path_in(q->from, q->from_dir + (dot ? (size_t)(dot - name) : strlen(name)));
    path_add(&p, "/", 1);
    return p;
}

/* The folder of the crate's sources: the innermost "src/" around the file. */
static struct path rust_crate(const struct query *q)
{
    struct path p = path_in(q->from, q->from_dir);
    while (p.len > 0) {
        bool is_src = p.len >= 4 && memcmp(p.bytes + p.len - 4, "src/", 4) == 0;
        if (is_src && (p.len == 4 || p.bytes[p.len - 5] == '/')) return p;
        path_up(&p);
    }
    return p;
}

/* "mod x;" and the paths of "use", whose last parts may be items of a module. */
static const struct project_file *resolve_rust(const struct query *q, const char *target, size_t len)
{
    static const char *const endings[] = {".rs", "/mod.rs", NULL};
    for (size_t i = 0; i < len; i++) { /* what follows names several items, or another name */
        if (target[i] == '{' || target[i] == '*' || target[i] == ' ') len = i;
    }
    while (len > 0 && target[len - 1] == ':') len--;
    struct path module = path_of_module(target, len, "::"), base;
    const char *rest = module.bytes;
    if (strncmp(rest, "crate/", 6) == 0) {
        base = rust_crate(q);
        rest += 6;
    } else {
        base = rust_children(q);
        if (strncmp(rest, "self/", 5) == 0) rest += 5;
        while (strncmp(rest, "super", 5) == 0 && (rest[5] == '/' || !rest[5])) {
            path_up(&base);
            rest += rest[5] ? 6 : 5;
        }
    }
    path_add(&base, rest, strlen(rest));
    base.is_invalid |= module.is_invalid;
    size_t least = base.len - strlen(rest);
    while (!base.is_invalid && base.len > least) {
        const struct project_file *f = find_any(q, &base, find_exact, endings);
        if (f) return f;
        path_up(&base);
        if (base.len > 0 && base.len > least) base.bytes[--base.len] = '\0';
    }
    return NULL;
}

/* Classes; a static import names a member of one, and "a.b.*" a package, which is no file. */
static const struct project_file *resolve_java(const struct query *q, const char *target, size_t len)
{
    struct path p = path_of_module(target, len, ".");
    const struct project_file *f = find_suffix(q, &p, ".java");
    char *slash = strrchr(p.bytes, '/');
    if (f || !slash) return f;
    p.len = (size_t)(slash - p.bytes);
    *slash = '\0';
    return strchr(p.bytes, '/') ? find_suffix(q, &p, ".java") : NULL;
}

static const struct project_file *resolve_lua(const struct query *q, const char *target, size_t len)
{
    static const char *const endings[] = {".lua", "/init.lua", NULL};
    struct path p = path_of_module(target, len, ".");
    return find_any(q, &p, find_suffix, endings);
}

/* "$dir/lib.sh": what stands behind the last variable is what is known. */
static const struct project_file *resolve_shell(const struct query *q, const char *target, size_t len)
{
    for (size_t i = len; i-- > 0;) {
        if (target[i] != '$') continue;
        const char *slash = memchr(target + i, '/', len - i);
        if (!slash) return NULL;
        len -= (size_t)(slash + 1 - target);
        target = slash + 1;
        break;
    }
    return resolve_path(q, target, len);
}

bool project_resolve_in(const struct project_table *t, const char *from, const struct language *l,
                        const char *target, size_t target_len, struct project_target *out)
{
    static const struct {
        const char *language;
        const struct project_file *(*resolve)(const struct query *q, const char *target, size_t len);
    } rules[] = {{"python", resolve_python},
                 {"javascript", resolve_script},
                 {"javascriptreact", resolve_script},
                 {"typescript", resolve_script},
                 {"typescriptreact", resolve_script},
                 {"go", resolve_go},
                 {"rust", resolve_rust},
                 {"java", resolve_java},
                 {"lua", resolve_lua},
                 {"shellscript", resolve_shell}};
    const char *slash = strrchr(from, '/');
    struct query q = {.table = t, .from = from, .from_dir = slash ? (size_t)(slash + 1 - from) : 0};
    *out = (struct project_target){0};
    if (target_len == 0 || target_len >= PROJECT_PATH_MAX) return false;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strcmp(rules[i].language, l->name) != 0) continue;
        out->is_folder = rules[i].resolve == resolve_go;
        out->file = rules[i].resolve(&q, target, target_len);
        return out->file != NULL;
    }
    out->file = resolve_path(&q, target, target_len);
    return out->file != NULL;
}
