/* Saved KV caches: what the directory holds, and what goes when it is full.
 *
 * The directory is the truth, and other processes may use it at the same time: it is read again before each
 * save, any file may be gone when it is to be loaded, and complete files appear by renaming. Names are a hash
 * of key and tokens, so that two processes that save the same text write the same file. The time of a file is
 * that of its last use. */
#include "infer/kv_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "infer/kv_file.h"
#include "os/dirs.h"
#include "os/file.h"

#define SUFFIX   ".kv"
#define NAME_LEN (16 + sizeof SUFFIX - 1) /* a 64-bit hash in hexadecimal, and the suffix */

/* More files than this are not kept: matching looks at all of them. */
#define FILES_MAX 1024
/* Free space that a cache must not take from the user's disk. */
#define DISK_RESERVE ((int64_t)256 << 20)
/* A file that has been incomplete for longer was left behind by a crash. */
#define STALE_NS ((int64_t)3600 * 1000000000)

struct entry {
    char name[NAME_LEN + 1];
    int32_t *tokens; /* [n]; owned */
    int32_t n;
    int64_t bytes, used_ns;
    bool is_seen; /* while the directory is read */
};

struct kv_store {
    char *dir;
    struct kv_file_kind kind;
    int64_t max_bytes, bytes;
    struct entry *entries; /* [n] of [cap]; owned */
    int32_t n, cap;
};

/* The caller frees. */
static char *path_of(const struct kv_store *s, const char *name)
{
    size_t size = strlen(s->dir) + 1 + strlen(name) + 1;
    char *path = mem_new(size);
    snprintf(path, size, "%s/%s", s->dir, name);
    return path;
}

/* Forget entry i; its file stays. */
static void forget(struct kv_store *s, int32_t i)
{
    s->bytes -= s->entries[i].bytes;
    mem_free(s->entries[i].tokens);
    s->entries[i] = s->entries[--s->n];
}

static void delete_name(const struct kv_store *s, const char *name)
{
    char *path = path_of(s, name);
    unlink(path);
    mem_free(path);
}

static void delete_entry(struct kv_store *s, int32_t i)
{
    delete_name(s, s->entries[i].name);
    forget(s, i);
}

/* Delete what was not used for longest until `bytes` more and one more file fit. */
static void make_room(struct kv_store *s, int64_t bytes)
{
    while (s->n > 0 && (s->bytes > s->max_bytes - bytes || s->n >= FILES_MAX)) {
        int32_t oldest = 0;
        for (int32_t i = 1; i < s->n; i++) {
            if (s->entries[i].used_ns < s->entries[oldest].used_ns) oldest = i;
        }
        delete_entry(s, oldest);
    }
}

/* Append an entry, whose tokens it takes. */
static enum err add(struct kv_store *s, const char *name, int32_t *tokens, int32_t n, int64_t used_ns)
{
    if (s->n == s->cap) {
        int32_t cap = s->cap ? 2 * s->cap : 16;
        struct entry *grown = mem_try_resize(s->entries, (size_t)cap, sizeof *grown);
        if (!grown) {
            mem_free(tokens);
            return ERR_NOMEM;
        }
        s->entries = grown;
        s->cap = cap;
    }
    struct entry *e = &s->entries[s->n++];
    *e = (struct entry){.tokens = tokens, .n = n, .used_ns = used_ns, .is_seen = true};
    snprintf(e->name, sizeof e->name, "%s", name);
    e->bytes = kv_file_bytes(&s->kind, n);
    s->bytes += e->bytes;
    return OK;
}

static bool is_our_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == NAME_LEN - strlen(SUFFIX) &&
           !strncmp(name + NAME_LEN - strlen(SUFFIX), SUFFIX, strlen(SUFFIX));
}

static int32_t find_name(const struct kv_store *s, const char *name)
{
    for (int32_t i = 0; i < s->n; i++) {
        if (!strcmp(s->entries[i].name, name)) return i;
    }
    return -1;
}

/* A file that we do not know yet. What cannot be read or remembered is as if it were not there. */
static void meet(struct kv_store *s, const char *name, const char *path, int64_t used_ns)
{
    int32_t *tokens, n;
    enum err err = kv_file_read_tokens(path, &s->kind, &tokens, &n);
    if (err == ERR_FORMAT) unlink(path);
    if (err) return;
    if (kv_file_bytes(&s->kind, n) > s->max_bytes) {
        mem_free(tokens);
        unlink(path);
        return;
    }
    if (s->n >= 2 * FILES_MAX) make_room(s, 0); /* a bound on memory; scan does the rest */
    err = add(s, name, tokens, n, used_ns);
    (void)err;
}

static void visit(void *ctx, const char *name)
{
    struct kv_store *s = ctx;
    if (!is_our_name(name)) return;
    char *path = path_of(s, name);
    int64_t used_ns = file_time_ns(path), bytes = file_size(path);
    if (name[NAME_LEN] != '\0') {
        /* Ours, but not complete: see file_write_parts. */
        bool is_temp = name[NAME_LEN] == '.' && strlen(name) == NAME_LEN + 1 + FILE_TEMP_LEN;
        int64_t age_ns = (int64_t)time(NULL) * 1000000000 - used_ns;
        if (is_temp && bytes >= 0 && age_ns > STALE_NS) unlink(path);
    } else if (bytes >= 0) {
        int32_t i = find_name(s, name);
        if (i >= 0 && s->entries[i].bytes != bytes) {
            forget(s, i); /* somebody damaged it */
            i = -1;
        }
        if (i < 0) {
            meet(s, name, path, used_ns);
        } else {
            s->entries[i].used_ns = used_ns;
            s->entries[i].is_seen = true;
        }
    }
    mem_free(path);
}

/* Bring the entries up to date with the directory. */
static void scan(struct kv_store *s)
{
    for (int32_t i = 0; i < s->n; i++) s->entries[i].is_seen = false;
    enum err err = dirs_list(s->dir, visit, s, NULL);
    (void)err; /* a directory that cannot be read holds nothing for us */
    for (int32_t i = s->n - 1; i >= 0; i--) {
        if (!s->entries[i].is_seen) forget(s, i);
    }
    make_room(s, 0);
}

enum err kv_store_open(const char *dir, const char *key, const struct kv_shape *shape, int64_t max_bytes,
                       struct kv_store **out, struct errmsg *msg)
{
    (void)msg;
    struct kv_store *s = MEM_NEW(struct kv_store);
    s->dir = mem_dup_str(dir);
    s->kind = (struct kv_file_kind){.key = XXH3_64bits(key, strlen(key)), .shape = *shape};
    s->max_bytes = max_bytes;
    scan(s);
    *out = s;
    return OK;
}

void kv_store_close(struct kv_store **store)
{
    struct kv_store *s = *store;
    if (!s) return;
    while (s->n > 0) forget(s, s->n - 1);
    mem_free(s->entries);
    mem_free(s->dir);
    mem_free(s);
    *store = NULL;
}

int64_t kv_store_bytes(const struct kv_store *s)
{
    return s->bytes;
}

static int32_t common_prefix(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t n = n_a < n_b ? n_a : n_b, i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* The entry that holds most of the beginning of tokens, and how much; -1: none holds any. */
static int32_t find_longest(const struct kv_store *s, const int32_t *tokens, int32_t n, int32_t *n_held)
{
    int32_t best = -1;
    *n_held = 0;
    for (int32_t i = 0; i < s->n; i++) {
        int32_t len = common_prefix(s->entries[i].tokens, s->entries[i].n, tokens, n);
        if (len <= *n_held) continue;
        *n_held = len;
        best = i;
    }
    return best;
}

int32_t kv_store_match(const struct kv_store *s, const int32_t *tokens, int32_t n)
{
    int32_t n_held;
    find_longest(s, tokens, n, &n_held);
    return n_held;
}

/* The entry was of use: it goes last. */
static void touch(struct kv_store *s, int32_t i)
{
    char *path = path_of(s, s->entries[i].name);
    file_touch(path);
    s->entries[i].used_ns = file_time_ns(path);
    mem_free(path);
}

/* Delete files that hold nothing but a beginning of tokens. */
static void delete_beginnings(struct kv_store *s, const int32_t *tokens, int32_t n)
{
    for (int32_t i = s->n - 1; i >= 0; i--) {
        struct entry *e = &s->entries[i];
        if (common_prefix(e->tokens, e->n, tokens, n) == e->n) delete_entry(s, i);
    }
}

/* Make the directory ready for a file of these tokens. */
static enum err prepare(struct kv_store *s, const char *path, const int32_t *tokens, int32_t n,
                        struct errmsg *msg)
{
    int64_t bytes = kv_file_bytes(&s->kind, n);
    if (bytes > s->max_bytes)
        return err_set(msg, ERR_LIMIT, "%s: saving %" PRId64 " bytes exceeds the ceiling of %" PRId64, s->dir,
                       bytes, s->max_bytes);
    enum err err = dirs_make(s->dir, msg);
    if (err) return err;
    delete_beginnings(s, tokens, n);
    make_room(s, bytes);
    int64_t space = file_free_space(path);
    if (space >= 0 && space < bytes + DISK_RESERVE)
        return err_set(msg, ERR_LIMIT, "%s: only %" PRId64 " MB of disk space left; free some", s->dir,
                       space >> 20);
    return OK;
}

/* Write the file and remember it. */
static enum err save_new(struct kv_store *s, const struct kv *kv, const int32_t *tokens, int32_t n,
                         struct errmsg *msg)
{
    int32_t *copy = mem_try((size_t)n, sizeof *copy);
    if (!copy) return err_set(msg, ERR_NOMEM, "%s: not enough memory to save %d tokens", s->dir, n);
    memcpy(copy, tokens, (size_t)n * sizeof *copy);

    char name[NAME_LEN + 1];
    uint64_t hash = XXH3_64bits_withSeed(tokens, (size_t)n * sizeof *tokens, s->kind.key);
    snprintf(name, sizeof name, "%016" PRIx64 SUFFIX, hash);
    char *path = path_of(s, name);
    enum err err = prepare(s, path, tokens, n, msg);
    if (!err) err = kv_file_write(path, &s->kind, kv, tokens, n, msg);
    if (err) {
        mem_free(copy);
    } else {
        file_touch(path); /* a finer time than that of writing */
        err = add(s, name, copy, n, file_time_ns(path));
        if (err) unlink(path);
    }
    mem_free(path);
    return err;
}

enum err kv_store_save(struct kv_store *s, const struct kv *kv, const int32_t *tokens, int32_t n,
                       struct errmsg *msg)
{
    if (n < 1) return OK;
    if (n > KV_FILE_TOKENS_MAX)
        return err_set(msg, ERR_LIMIT, "%s: %d tokens are too many to save", s->dir, n);
    scan(s);
    int32_t n_held, held = find_longest(s, tokens, n, &n_held);
    if (n_held < n) return save_new(s, kv, tokens, n, msg);
    touch(s, held);
    return OK;
}

enum err kv_store_load(struct kv_store *s, const int32_t *tokens, int32_t n, struct kv *kv, int32_t *n_loaded)
{
    int32_t i, n_held;
    *n_loaded = 0;
    kv_truncate(kv, 0);
    if (n > kv->n_ctx) n = kv->n_ctx;
    while ((i = find_longest(s, tokens, n, &n_held)) >= 0) {
        enum err err = kv_reserve(kv, 0, n_held);
        if (err) return err;
        char *path = path_of(s, s->entries[i].name);
        err = kv_file_read_pages(path, &s->kind, tokens, n_held, kv);
        mem_free(path);
        if (!err) {
            touch(s, i);
            *n_loaded = n_held;
            return OK;
        }
        kv_truncate(kv, 0);
        if (err == ERR_NOMEM) return err;
        if (err == ERR_FORMAT)
            delete_entry(s, i);
        else
            forget(s, i);
    }
    return OK;
}
