/* The file of a pack. See weight_pack_file.h.
 *
 * A header is checked by making the one that belongs to the model and comparing bytes, with only the data's
 * checksums taken from the file. So there is nothing to parse, and no offset from the file is ever used. */
#include "model/weight_pack_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"
#include "kern/pack.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/weight_pack_chunk.h"

/* Bytes written between two fdatasync: cancelling never waits for more to reach the disk, and other
 * programs' writes do not queue behind half a gigabyte. */
#define SYNC_BYTES 4194304

static const char magic[8] = "INLPACK";

/* Neither struct has padding. */
struct header {
    char magic[8];
    uint32_t version; /* PACK_VERSION; also tells the byte order */
    uint32_t n;
    char key[32];
    uint64_t model_bytes, file_bytes;
    uint64_t checksum; /* of the header and the table, with 0 here */
};

struct row {
    uint64_t source;        /* offset of the plain matrix in the model's file */
    uint64_t offset, bytes; /* of the packed form in this file */
    uint32_t type, n_rows, n_cols;
    uint32_t converted_from; /* 1 + the format in the model's file; 0: it is the same */
    uint64_t checksum;       /* of the packed form */
};

_Static_assert(sizeof(struct header) == 72 && sizeof(struct row) == 48, "no padding");

/* Header and table as one block of memory. */
struct image {
    struct header *header; /* owned; the table follows */
    struct row *rows;
    size_t len;
};

int64_t weight_pack_file_header_bytes(int32_t n)
{
    return (int64_t)(sizeof(struct header) + (size_t)n * sizeof(struct row));
}

/* The header of the plan, without checksums. */
static enum err make_image(const struct weight_pack_plan *plan, struct image *out, struct errmsg *msg)
{
    const struct map *model_map = gguf_map(plan->model->gguf);
    out->len = (size_t)plan->header_bytes;
    out->header = mem_try(1, out->len);
    if (!out->header) return err_set(msg, ERR_NOMEM, "no memory for a table of %d matrices", plan->n);
    out->rows = (struct row *)(out->header + 1);
    *out->header = (struct header){.version = PACK_VERSION,
                                   .n = (uint32_t)plan->n,
                                   .model_bytes = model_map->len,
                                   .file_bytes = (uint64_t)plan->file_bytes};
    memcpy(out->header->magic, magic, sizeof magic);
    memcpy(out->header->key, plan->key, sizeof out->header->key); /* the model's; formats follow */
    for (int32_t i = 0; i < plan->n; i++) {
        const struct weight_pack_entry *e = &plan->entries[i];
        out->rows[i] = (struct row){.source = (uint64_t)((const unsigned char *)e->w->data - model_map->data),
                                    .offset = (uint64_t)e->offset,
                                    .bytes = (uint64_t)e->bytes,
                                    .type = (uint32_t)e->type,
                                    .n_rows = (uint32_t)e->w->n_rows,
                                    .n_cols = (uint32_t)e->w->n_cols};
        if (e->type != e->w->type) out->rows[i].converted_from = 1 + (uint32_t)e->w->type;
    }
    return OK;
}

static void seal(struct image *image)
{
    image->header->checksum = 0;
    image->header->checksum = XXH3_64bits(image->header, image->len);
}

/* --- Reading ----------------------------------------------------------------------------------------- */

static enum err check_header(const struct map *map, const char *path, const struct weight_pack_plan *plan,
                             struct errmsg *msg)
{
    struct image image = {0};
    if (map->len != (size_t)plan->file_bytes)
        return err_set(msg, ERR_NOT_FOUND, "%s: not the pack of %s: its size differs", path,
                       plan->model->path);
    enum err err = make_image(plan, &image, msg);
    if (err) return err;
    const struct row *rows = (const struct row *)(map->data + sizeof(struct header));
    for (int32_t i = 0; i < plan->n; i++) image.rows[i].checksum = rows[i].checksum;
    seal(&image);
    if (memcmp(map->data, image.header, image.len) != 0)
        err = err_set(msg, ERR_NOT_FOUND, "%s: not the pack of %s, or damaged", path, plan->model->path);
    mem_free(image.header);
    return err;
}

enum err weight_pack_file_open(const char *path, const struct weight_pack_plan *plan,
                               struct weight_pack_file *out, struct errmsg *msg)
{
    struct weight_pack_file f = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (f.fd < 0) return err_set(msg, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    /* Without the lock (another process is just deleting it, or the file system has none) it serves as well:
     * a deleted file lives as long as its map. */
    flock(f.fd, LOCK_SH | LOCK_NB);
    enum err err = map_open_fd(f.fd, path, &f.map, msg);
    if (!err) err = check_header(&f.map, path, plan, msg);
    if (err) {
        map_close(&f.map);
        close(f.fd);
        return err == ERR_NOMEM ? err : ERR_NOT_FOUND;
    }
    futimens(f.fd, NULL); /* used now; somebody else's pack cannot be touched, and need not be */
    *out = f;
    return OK;
}

void weight_pack_file_close(struct weight_pack_file *f)
{
    if (f->map.data) close(f->fd);
    map_close(&f->map);
    *f = (struct weight_pack_file){0};
}

/* --- Checksums ----------------------------------------------------------------------------------------- */

/* The checksum of a packed matrix that lies in memory: each chunk's hash is the next one's seed. */
static uint64_t hash_data(const void *data, const struct weight_pack_entry *e)
{
    uint64_t hash = 0;
    size_t step = weight_pack_chunk_bytes(e, weight_pack_chunk_rows(e)), bytes = (size_t)e->bytes;
    for (size_t at = 0; at < bytes; at += step) {
        hash = XXH3_64bits_withSeed((const char *)data + at, bytes - at < step ? bytes - at : step, hash);
    }
    return hash;
}

/* --- Writing ----------------------------------------------------------------------------------------- */

struct writer {
    int fd;
    const char *path;
    const struct weight_pack_plan *plan;
    struct weight_pack_maker *maker;
    size_t unsynced;
    struct weight_pack_progress *progress;
    struct errmsg *msg;
};

static bool is_cancelled(const struct writer *w)
{
    /* Relaxed: the flag guards no other data. */
    return atomic_load_explicit(&w->progress->cancel, memory_order_relaxed);
}

static enum err write_failed(const struct writer *w)
{
    return err_set(w->msg, ERR_IO, "%s: cannot write: %s", w->path, strerror(errno));
}

static enum err write_at(struct writer *w, const void *bytes, size_t len, int64_t offset)
{
    const char *at = bytes;
    w->unsynced += len;
    while (len > 0) {
        ssize_t n = pwrite(w->fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return write_failed(w);
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    if (w->unsynced < SYNC_BYTES) return OK;
    w->unsynced = 0;
    return fdatasync(w->fd) == 0 ? OK : write_failed(w);
}

/* Make all chunks and write them; the rows of the image get their checksums. */
static enum err write_chunks(struct writer *w, const struct image *image)
{
    const struct weight_pack_chunk *chunks;
    enum err err = OK;
    int32_t n = -1;
    while (!err && n != 0) {
        if (is_cancelled(w)) return ERR_CANCELLED;
        n = weight_pack_maker_next(w->maker, &chunks);
        for (int32_t i = 0; i < n && !err; i++) {
            const struct weight_pack_chunk *c = &chunks[i];
            const struct weight_pack_entry *e = &w->plan->entries[c->entry];
            uint64_t *checksum = &image->rows[c->entry].checksum;
            *checksum = XXH3_64bits_withSeed(c->bytes, c->len, *checksum);
            err = write_at(w, c->bytes, c->len, e->offset + (int64_t)weight_pack_chunk_bytes(e, c->row));
            atomic_fetch_add_explicit(&w->progress->done, (int64_t)c->len, memory_order_relaxed);
        }
    }
    return err;
}

/* What reads give now is what was packed: catches a disk or a file system that lost something. */
static enum err read_back(const struct writer *w, const struct image *image)
{
    const struct weight_pack_plan *plan = w->plan;
    struct map map;
    enum err err = map_open_fd(w->fd, w->path, &map, w->msg);
    for (int32_t i = 0; i < plan->n && !err; i++) {
        const struct weight_pack_entry *e = &plan->entries[i];
        if (is_cancelled(w)) {
            err = ERR_CANCELLED;
        } else if (hash_data(map.data + e->offset, e) != image->rows[i].checksum) {
            err = err_set(w->msg, ERR_IO, "%s: reads differ from what was written; is the disk failing?",
                          w->path);
        }
    }
    map_close(&map);
    return err;
}

enum err weight_pack_file_write(int fd, const char *path, const struct weight_pack_plan *plan,
                                int32_t n_threads, struct weight_pack_progress *progress, struct errmsg *msg)
{
    struct writer w = {.fd = fd, .path = path, .plan = plan, .progress = progress, .msg = msg};
    struct image image = {0};
    enum err err = make_image(plan, &image, msg);
    if (!err) err = weight_pack_maker_new(plan, n_threads, &w.maker, msg);
    /* The gaps between matrices are holes. */
    if (!err && ftruncate(fd, (off_t)plan->file_bytes) != 0) err = write_failed(&w);
    if (!err) err = write_chunks(&w, &image);
    if (!err) {
        seal(&image);
        err = write_at(&w, image.header, image.len, 0);
    }
    if (!err && fsync(fd) != 0) err = write_failed(&w);
    if (!err) err = read_back(&w, &image);
    weight_pack_maker_free(&w.maker);
    mem_free(image.header);
    return err;
}

/* --- Verifying --------------------------------------------------------------------------------------- */

enum err weight_pack_file_verify(const struct weight_pack_file *f, const char *path,
                                 const struct weight_pack_plan *plan, int32_t n_threads, struct errmsg *msg)
{
    const struct row *rows = (const struct row *)(f->map.data + sizeof(struct header));
    const struct weight_pack_chunk *chunks;
    struct weight_pack_maker *maker = NULL;
    uint64_t *fresh = mem_try((size_t)plan->n, sizeof *fresh);
    enum err err = fresh ? OK : err_set(msg, ERR_NOMEM, "no memory for a table of %d matrices", plan->n);
    for (int32_t i = 0; i < plan->n && !err; i++) {
        const struct weight_pack_entry *e = &plan->entries[i];
        if (hash_data(f->map.data + e->offset, e) != rows[i].checksum)
            err = err_set(msg, ERR_FORMAT, "%s: the packed weights are damaged", path);
    }
    if (!err) err = weight_pack_maker_new(plan, n_threads, &maker, msg);
    for (int32_t n = -1; !err && n != 0;) {
        n = weight_pack_maker_next(maker, &chunks);
        for (int32_t i = 0; i < n; i++) {
            uint64_t *hash = &fresh[chunks[i].entry];
            *hash = XXH3_64bits_withSeed(chunks[i].bytes, chunks[i].len, *hash);
        }
    }
    for (int32_t i = 0; i < plan->n && !err; i++) {
        if (fresh[i] != rows[i].checksum)
            err = err_set(msg, ERR_FORMAT, "%s: the packed weights are not those of %s", path,
                          plan->model->path);
    }
    weight_pack_maker_free(&maker);
    mem_free(fresh);
    return err;
}
