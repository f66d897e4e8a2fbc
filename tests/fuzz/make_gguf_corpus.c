/* Writes seed files for fuzz_gguf into a directory: one small file for each part of the format. */
#include <stdio.h>
#include <string.h>

#include "os/file.h"
#include "support/gguf_writer.h"

#define SEED_MAX 4096

static const uint64_t dims_8x2[] = {8, 2};
static const uint64_t dims_32x1x1x1[] = {32, 1, 1, 1};
static const char zeros[512];

static void add_scalars(struct gguf_writer *w)
{
    for (enum gguf_type type = GGUF_U8; type < GGUF_TYPE_END; type++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", (int)type);
        if (type == GGUF_F32 || type == GGUF_F64) {
            gguf_writer_float(w, key, type, 1e-5);
        } else if (type == GGUF_STRING) {
            gguf_writer_str(w, key, "llama");
        } else if (type != GGUF_ARRAY) {
            gguf_writer_int(w, key, type, 1);
        }
    }
}

static void add_arrays(struct gguf_writer *w)
{
    static const char *const tokens[] = {"<s>", "a", "", "\xc4\xa0the"};
    static const float scores[] = {0, -1};
    static const int32_t types[] = {3, 1, 1, 1};
    static const uint8_t flags[] = {0, 1};
    gguf_writer_strs(w, "tokens", tokens, 4);
    gguf_writer_array(w, "scores", GGUF_F32, 2, scores, sizeof scores);
    gguf_writer_array(w, "types", GGUF_I32, 4, types, sizeof types);
    gguf_writer_array(w, "flags", GGUF_BOOL, 2, flags, sizeof flags);
    gguf_writer_array(w, "none", GGUF_U64, 0, NULL, 0);
}

static void add_tensors(struct gguf_writer *w)
{
    gguf_writer_tensor(w, "blk.0.attn_q.weight", KERN_F32, 2, dims_8x2, zeros, 64);
    gguf_writer_tensor(w, "blk.0.attn_k.weight", KERN_Q4_0, 4, dims_32x1x1x1, zeros, 18);
    gguf_writer_tensor(w, "output_norm.weight", KERN_F16, 1, dims_8x2, zeros, 16);
}

static void make_nothing(struct gguf_writer *w)
{
    (void)w;
}

static void make_aligned(struct gguf_writer *w)
{
    w->alignment = 8;
    gguf_writer_int(w, "general.alignment", GGUF_U32, 8);
    add_tensors(w);
}

static void make_version_2(struct gguf_writer *w)
{
    w->version = 2;
    add_scalars(w);
    add_arrays(w);
    add_tensors(w);
}

static void make_overlap(struct gguf_writer *w)
{
    add_tensors(w);
    gguf_writer_describe(w, "again", KERN_F32, 2, dims_8x2, 32);
}

static void make_unsupported(struct gguf_writer *w)
{
    gguf_writer_describe(w, "blk.0.ffn_up.weight", 16, 2, dims_8x2, 0);
}

static void make_nested(struct gguf_writer *w)
{
    gguf_writer_array(w, "nested", GGUF_ARRAY, 1, zeros, 12);
}

static void make_huge(struct gguf_writer *w)
{
    gguf_writer_array(w, "huge", GGUF_STRING, (uint64_t)1 << 63, zeros, 64);
}

static const struct {
    const char *name;
    void (*make)(struct gguf_writer *w);
} seeds[] = {
    {"nothing", make_nothing}, {"scalars", add_scalars},          {"arrays", add_arrays},
    {"tensors", add_tensors},  {"aligned", make_aligned},         {"version_2", make_version_2},
    {"overlap", make_overlap}, {"unsupported", make_unsupported}, {"nested", make_nested},
    {"huge", make_huge},
};

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "use: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[4096];
        struct gguf_writer w;
        struct buf out;
        struct errmsg msg;
        gguf_writer_init(&w);
        seeds[i].make(&w);
        buf_init(&out, SEED_MAX);
        gguf_writer_finish(&w, &out);
        snprintf(path, sizeof path, "%s/%s", argv[1], seeds[i].name);
        enum err err = out.err ? err_set(&msg, out.err, "%s: larger than %d bytes", path, SEED_MAX)
                               : file_write(path, buf_str(&out), out.len, &msg);
        buf_clear(&out);
        gguf_writer_clear(&w);
        if (!err) continue;
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    return 0;
}
