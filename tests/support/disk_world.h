/* A disk cache in a folder of its own, records to put into it, and what it logs. For cmocka programs. */
#ifndef SUPPORT_DISK_WORLD_H
#define SUPPORT_DISK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/disk_cache.h"

struct disk_world {
    char dir[64], path[96], log[96], index[96];
    struct disk_cache *d;
    struct disk_found found;
};

static inline void world_open(struct disk_world *w, int64_t max_bytes)
{
    struct errmsg msg;
    assert_int_equal(disk_cache_open(w->path, max_bytes, &w->d, &msg), OK);
}

static inline int world_set_up(void **state)
{
    struct disk_world *w = calloc(1, sizeof *w);
    /* In memory if that can be: nothing here is about how fast a disk syncs. */
    snprintf(w->dir, sizeof w->dir, "%s/inline-test-disk-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(w->dir)) return -1;
    snprintf(w->path, sizeof w->path, "%s/answers.db", w->dir);
    snprintf(w->log, sizeof w->log, "%s/answers.db-wal", w->dir);
    snprintf(w->index, sizeof w->index, "%s/answers.db-shm", w->dir);
    buf_init(&w->found.bytes, DISK_FOUND_MAX * RECORD_BYTES_MAX);
    *state = w;
    return 0;
}

static inline void world_delete_files(struct disk_world *w)
{
    unlink(w->path);
    unlink(w->log);
    unlink(w->index);
    rmdir(w->path); /* some tests put a folder there */
}

static inline int world_tear_down(void **state)
{
    struct disk_world *w = *state;
    disk_cache_close(&w->d);
    buf_clear(&w->found.bytes);
    world_delete_files(w);
    int left = rmdir(w->dir);
    free(w);
    return left;
}

/* A record of a line, after `typed`; other fields as in *like, if it is not null. Bytes are added to out. */
static inline struct disk_put world_record(struct buf *out, uint64_t line, const char *typed,
                                           const char *text, const struct record *like)
{
    struct record r = like ? *like : (struct record){.maker = 1};
    size_t start = out->len;
    r.line[0] = line;
    r.line[1] = ~line;
    r.typed = typed;
    r.typed_len = strlen(typed);
    r.candidates[0] = (struct record_candidate){.text = text, .len = strlen(text), .end = RECORD_LIMIT};
    r.n_candidates = 1;
    assert_int_equal(record_write(&r, out), OK);
    return (struct disk_put){out->data + start, out->len - start};
}

static inline void world_put_like(struct disk_world *w, uint64_t line, const char *typed, const char *text,
                                  const struct record *like)
{
    struct buf bytes;
    buf_init(&bytes, RECORD_BYTES_MAX);
    struct disk_put put = world_record(&bytes, line, typed, text, like);
    disk_cache_put(w->d, &put, 1);
    buf_clear(&bytes);
}

static inline void world_put(struct disk_world *w, uint64_t line, const char *typed, const char *text)
{
    world_put_like(w, line, typed, text, NULL);
}

/* Lines first..end - 1, each with the text "text of LINE" and `extra` bytes more. */
static inline void world_fill(struct disk_world *w, uint64_t first, uint64_t end, size_t extra)
{
    struct buf bytes;
    struct disk_put puts[64];
    char *text = malloc(extra + 64);
    buf_init(&bytes, sizeof puts / sizeof *puts * RECORD_BYTES_MAX);
    while (first < end) {
        size_t starts[65] = {0};
        int32_t n = 0;
        buf_reset(&bytes);
        for (; n < 64 && first < end; n++, first++) {
            int len = snprintf(text, 64, "text of %llu", (unsigned long long)first);
            memset(text + len, 'x', extra);
            text[(size_t)len + extra] = '\0';
            world_record(&bytes, first, "typed", text, NULL);
            starts[n + 1] = bytes.len;
        }
        for (int32_t i = 0; i < n; i++) {
            puts[i] = (struct disk_put){bytes.data + starts[i], starts[i + 1] - starts[i]};
        }
        disk_cache_put(w->d, puts, n);
    }
    buf_clear(&bytes);
    free(text);
}

static inline int32_t world_find(struct disk_world *w, uint64_t line, const char *typed)
{
    struct store_key key = {{line, ~line}, typed, strlen(typed)};
    disk_cache_find(w->d, &key, &w->found);
    return w->found.n;
}

/* The i-th record that was found last; its views are the world's. */
static inline struct record world_found(struct disk_world *w, int32_t i)
{
    struct record r;
    size_t at = i > 0 ? w->found.ends[i - 1] : 0;
    assert_in_range(i, 0, w->found.n - 1);
    assert_int_equal(record_read(w->found.bytes.data + at, w->found.ends[i] - at, &r), OK);
    return r;
}

static inline void world_assert_finds(struct disk_world *w, uint64_t line, const char *typed,
                                      const char *text)
{
    assert_true(world_find(w, line, typed) > 0);
    struct record r = world_found(w, 0);
    assert_int_equal(r.candidates[0].len, strlen(text));
    assert_memory_equal(r.candidates[0].text, text, strlen(text));
}

static inline struct disk_stats world_stats(struct disk_world *w)
{
    struct disk_stats s;
    disk_cache_stats(w->d, &s);
    return s;
}

static inline struct disk_report world_verify(struct disk_world *w)
{
    struct disk_report report;
    struct errmsg msg;
    assert_int_equal(disk_cache_verify(w->path, &report, &msg), OK);
    return report;
}

static inline void world_assert_clean(struct disk_world *w, int64_t n_entries)
{
    struct disk_report report = world_verify(w);
    assert_string_equal(report.fault, "");
    assert_int_equal(report.n_bad, 0);
    assert_int_equal(report.n_entries, n_entries);
}

/* ---- What is logged ---- */

struct log_capture {
    int saved;
    FILE *file;
};

static inline void log_capture_begin(struct log_capture *c)
{
    c->file = tmpfile();
    assert_non_null(c->file);
    fflush(stderr);
    c->saved = dup(STDERR_FILENO);
    dup2(fileno(c->file), STDERR_FILENO);
}

/* The number of lines. */
static inline int log_capture_end(struct log_capture *c)
{
    int n = 0;
    fflush(stderr);
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    rewind(c->file);
    for (int ch; (ch = fgetc(c->file)) != EOF;) n += ch == '\n';
    fclose(c->file);
    return n;
}

#endif
