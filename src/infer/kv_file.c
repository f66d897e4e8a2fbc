/* One saved KV cache.
 *
 * A file is a front (header, a checksum of each page, tokens, zeros up to a multiple of ALIGNMENT) and then
 * the pages as they stand in memory. The header holds a checksum of the whole front; all checksums are XXH3,
 * 64 bits. The size of a file follows from its header, so that most damage shows before any page is read.
 * Numbers are in the machine's byte order: a file from a machine of the other order has a foreign version.
 *
 * Pages are not compressed: of the KV of 3,509 tokens of C code in SmolLM2-135M, zstd level 1 saves 1.5 % in
 * F16 (16 % with high and low bytes apart) and 8 % in Q8_0, for more time than reading that much takes. */
#include "infer/kv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "os/file.h"

#define VERSION   1
#define ALIGNMENT 4096 /* of the pages in the file: the system copies whole memory pages fastest */

static const char magic[8] = "InlineKV";

struct header {
    char magic[8];
    uint32_t version;
    uint32_t type; /* enum kern_kv_type */
    uint64_t key;
    int32_t n_layers, n_kv_heads, head_dim, n_tokens;
    uint64_t page_bytes;
    uint64_t checksum; /* of the front with 0 in this place */
};
_Static_assert(sizeof(struct header) == 56, "written as it stands in memory: no padding");

/* The front of a file in memory. */
struct front {
    char *bytes; /* owned; header, sums and tokens point into it */
    size_t len;
    struct header *header;
    uint64_t *sums;  /* [n_pages] */
    int32_t *tokens; /* [n_tokens] */
    int32_t n_pages, n_tokens;
};

static int32_t pages_of(int32_t n_tokens)
{
    return (n_tokens + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
}

static size_t front_bytes(int32_t n_tokens)
{
    size_t n = sizeof(struct header) + (size_t)pages_of(n_tokens) * sizeof(uint64_t) +
               (size_t)n_tokens * sizeof(int32_t);
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int64_t kv_file_bytes(const struct kv_file_kind *kind, int32_t n)
{
    return (int64_t)front_bytes(n) + (int64_t)pages_of(n) * (int64_t)kind->shape.page_bytes;
}

static enum err front_new(int32_t n_tokens, struct front *out)
{
    *out = (struct front){.len = front_bytes(n_tokens), .n_pages = pages_of(n_tokens), .n_tokens = n_tokens};
    out->bytes = mem_try(out->len, 1);
    if (!out->bytes) return ERR_NOMEM;
    out->header = (struct header *)out->bytes;
    out->sums = (uint64_t *)(out->bytes + sizeof(struct header));
    out->tokens = (int32_t *)(out->sums + out->n_pages);
    return OK;
}

static void front_clear(struct front *f)
{
    mem_free(f->bytes);
    *f = (struct front){0};
}

/* The header, but for its checksum, of a file of this kind. */
static struct header header_of(const struct kv_file_kind *kind, int32_t n_tokens)
{
    struct header h = {.version = VERSION,
                       .type = (uint32_t)kind->shape.type,
                       .key = kind->key,
                       .n_layers = kind->shape.n_layers,
                       .n_kv_heads = kind->shape.n_kv_heads,
                       .head_dim = kind->shape.head_dim,
                       .n_tokens = n_tokens,
                       .page_bytes = kind->shape.page_bytes};
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

enum err kv_file_write(const char *path, const struct kv_file_kind *kind, const struct kv *kv,
                       const int32_t *tokens, int32_t n, struct errmsg *msg)
{
    struct front front = {0};
    struct file_part *parts = NULL;
    char *last = NULL; /* a copy of the last page, where it is not full */
    enum err err = front_new(n, &front);
    if (err) goto done;
    size_t page_bytes = kind->shape.page_bytes;
    parts = mem_try(1 + (size_t)front.n_pages, sizeof *parts);
    last = mem_try(1, page_bytes);
    if (!parts || !last) {
        err = ERR_NOMEM;
        goto done;
    }
    parts[0] = (struct file_part){front.bytes, front.len};
    for (int32_t i = 0; i < front.n_pages; i++) parts[1 + i] = (struct file_part){kv->pages[i], page_bytes};
    if (n % KERN_KV_BLOCK) {
        /* Behind the last token may stand what was computed for other text. */
        memcpy(last, kv->pages[front.n_pages - 1], page_bytes);
        kv_page_clear(&kind->shape, last, n % KERN_KV_BLOCK);
        parts[front.n_pages].bytes = last;
    }
    *front.header = header_of(kind, n);
    memcpy(front.tokens, tokens, (size_t)n * sizeof *tokens);
    for (int32_t i = 0; i < front.n_pages; i++) front.sums[i] = XXH3_64bits(parts[1 + i].bytes, page_bytes);
    front.header->checksum = XXH3_64bits(front.bytes, front.len);
    err = file_write_parts(path, parts, 1 + (size_t)front.n_pages, msg);

done:
    if (err == ERR_NOMEM) err_set(msg, err, "%s: not enough memory to save %d tokens", path, n);
    mem_free(last);
    mem_free(parts);
    front_clear(&front);
    return err;
}

/* ERR_FORMAT: the file ends before. */
static enum err read_at(int fd, int64_t offset, void *bytes, size_t len)
{
    for (char *p = bytes; len > 0;) {
        ssize_t n = pread(fd, p, len, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ERR_IO;
        if (n == 0) return ERR_FORMAT;
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return OK;
}

/* Open a file and read its front, verified. */
static enum err open_front(const char *path, const struct kv_file_kind *kind, int *fd, struct front *front)
{
    struct stat st;
    struct header found, wanted;
    *front = (struct front){0};
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) return ERR_IO;
    enum err err = read_at(*fd, 0, &found, sizeof found);
    if (err) return err;
    if (found.n_tokens < 1 || found.n_tokens > KV_FILE_TOKENS_MAX) return ERR_FORMAT;
    wanted = header_of(kind, found.n_tokens);
    wanted.checksum = found.checksum;
    if (memcmp(&found, &wanted, sizeof found) != 0) return ERR_FORMAT;
    if (st.st_size != kv_file_bytes(kind, found.n_tokens)) return ERR_FORMAT;

    err = front_new(found.n_tokens, front);
    if (!err) err = read_at(*fd, 0, front->bytes, front->len);
    if (err) return err;
    front->header->checksum = 0;
    return XXH3_64bits(front->bytes, front->len) == found.checksum ? OK : ERR_FORMAT;
}

enum err kv_file_read_tokens(const char *path, const struct kv_file_kind *kind, int32_t **tokens, int32_t *n)
{
    int fd;
    struct front front;
    enum err err = open_front(path, kind, &fd, &front);
    *tokens = err ? NULL : mem_try((size_t)front.n_tokens, sizeof **tokens);
    *n = *tokens ? front.n_tokens : 0;
    if (!err && !*tokens) err = ERR_NOMEM;
    if (!err) memcpy(*tokens, front.tokens, (size_t)*n * sizeof **tokens);
    front_clear(&front);
    if (fd >= 0) close(fd);
    return err;
}

enum err kv_file_read_pages(const char *path, const struct kv_file_kind *kind, const int32_t *tokens,
                            int32_t n, struct kv *kv)
{
    int fd;
    struct front front;
    size_t page_bytes = kind->shape.page_bytes;
    enum err err = open_front(path, kind, &fd, &front);
    if (!err && (front.n_tokens < n || memcmp(front.tokens, tokens, (size_t)n * sizeof *tokens) != 0))
        err = ERR_FORMAT;
    for (int32_t i = 0; !err && i < pages_of(n); i++) {
        err = read_at(fd, (int64_t)front.len + (int64_t)i * (int64_t)page_bytes, kv->pages[i], page_bytes);
        if (!err && XXH3_64bits(kv->pages[i], page_bytes) != front.sums[i]) err = ERR_FORMAT;
    }
    front_clear(&front);
    if (fd >= 0) close(fd);
    return err;
}
