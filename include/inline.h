/* libinline: code completion inside your program, from a GGUF model, on the CPU.
 *
 * One handle holds one model. A handle may be used by one thread at a time, except inline_cancel, which
 * any thread may call. See docs/examples/embed.c.
 *
 * Where a model's file is cut off, or its disk fails, while a handle is open, requests fail and your program
 * goes on: for that, inline_open installs a handler of SIGBUS. Faults that are not the library's go to the
 * handler that was there before; one that you install later must in turn call the one that it replaces. */
#ifndef INLINE_H
#define INLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INLINE_API __attribute__((visibility("default")))

#define INLINE_ERROR_MAX 512 /* bytes of an error message, with its NUL */

struct inline_model;

/* Packed weights: a copy of a model's weights in the layout that computing reads fastest, in the user's cache
 * directory, about as large as the model. `inline model pull` writes it. */
enum inline_pack {
    INLINE_PACK_USE,   /* if it is there */
    INLINE_PACK_BUILD, /* and write it in the background if not */
    INLINE_PACK_OFF
};

enum inline_kv { INLINE_KV_F16, INLINE_KV_Q8_0 };

/* Zero means the default everywhere. */
/* What F16 and BF16 weights are computed in, where converted ones are there (`inline model pack`);
 * docs/models.md. */
enum inline_precision {
    INLINE_PRECISION_AUTO, /* what fits into memory */
    INLINE_PRECISION_FULL, /* as stored */
    INLINE_PRECISION_MIXED,
    INLINE_PRECISION_QUANTIZED
};

struct inline_options {
    const char *isa;   /* force a kernel variant (docs/configuration.md, engine.isa) */
    int32_t n_threads; /* all processors that we may use */
    int32_t n_ctx;     /* tokens of context; 4096. Never more than the model was trained for */
    enum inline_pack pack;
    enum inline_precision precision;
    bool mxfp8;        /* the 8-bit format of INLINE_PRECISION_MIXED: MXFP8 instead of Q8_0 */
    enum inline_kv kv; /* format of what is kept of computed tokens; Q8_0 takes half the memory */
    /* Directory where inline_close saves what was computed, and later handles find it; "" is the usual one in
     * the user's cache directory, NULL: nowhere. kv_disk_bytes: ceiling of its files. */
    const char *kv_dir;
    int64_t kv_disk_bytes;
    bool move;           /* reuse what an edit shifted: faster, but answers may differ slightly */
    bool no_speculation; /* compute every token in a pass of its own */
    bool window_only;    /* show the model the text around the cursor only, not what else helps */
    /* What is never shown to a model, besides what everybody keeps secret (docs/configuration.md, privacy):
     * names of files, and a regular expression for what stands in others; or NULL. */
    const char *secret_files, *secret_contents;
};

/* Where to complete. text need not be NUL-terminated; it must be UTF-8, with '\n' or '\r\n' line ends. */
struct inline_request {
    const char *text;
    size_t len;                /* bytes */
    size_t cursor;             /* byte offset of the cursor, 0..len, not inside a character */
    const char *path;          /* name shown to the model, or NULL */
    int32_t max_tokens;        /* generated at most, less than the context; 64 */
    int32_t max_prompt_tokens; /* of what the model sees; 2816 */
    float temperature;         /* 0: greedy */
    int32_t top_k;             /* 0: off */
    float top_p;               /* 0 or 1: off */
    float min_p;               /* 0: off */
    float repeat_penalty;      /* 0 or 1: off */
    bool infill;               /* end early when the model is unsure */
    double max_prompt_ms;      /* give up reading the text after so long, 0: never */
    double max_predict_ms;     /* end the suggestion after so long, 0: never */
    uint64_t seed;
    bool explain; /* fill result.explanation */

    /* Streaming: called with each piece of the suggestion as it becomes certain (whole characters, not
     * NUL-terminated). Return false to stop. NULL: not streamed. */
    bool (*on_text)(void *user, const char *text, size_t len);
    void *user;
};

struct inline_result {
    char *text; /* the suggestion, NUL-terminated; freed by inline_result_clear */
    size_t len;
    /* Why it ends. "eog": the model ended it; "limit": max_tokens; "suffix": it began to repeat the text
     * after the cursor; "repetition": it began to repeat itself; "line", "unit", "block": the line, the
     * statement or the block at the cursor is complete; "time": max_prompt_ms or max_predict_ms; "cancelled":
     * by inline_cancel or on_text. */
    const char *stop_reason;
    char *explanation;   /* what the prompt was made of, a JSON object (docs/context.md); NULL unless asked
                            for */
    double mean_logprob; /* of the generated tokens, natural logarithm: how sure the model was */
    int32_t prompt_tokens, reused_tokens, generated_tokens;
    int32_t drafted_tokens, accepted_tokens; /* proposed by speculation, and those that were right */
    double prompt_ms, generate_ms;
};

/* What a model is. Strings live as long as the handle. */
struct inline_info {
    const char *name, *path, *architecture;
    const char *fim_family;   /* "none" if the model has no fill-in-the-middle tokens */
    const char *fim_order;    /* "psm", "spm", "prefix-only" */
    const char *fim_detected; /* "gguf keys", "token text", "none" */
    const char *isa;
    int32_t n_threads, n_ctx;
    double load_ms;
};

/* NULL on failure, with a one-line message in error (INLINE_ERROR_MAX bytes, may be NULL). path is a GGUF
 * file or the name of an installed model. */
INLINE_API struct inline_model *inline_open(const char *path, const struct inline_options *options,
                                            char *error);
INLINE_API void inline_close(struct inline_model *m); /* NULL is fine */
INLINE_API void inline_info(const struct inline_model *m, struct inline_info *out);

/* Complete at the cursor. True on success, also when cancelled or stopped; the result must be cleared.
 * What the previous request on this handle computed is reused. */
INLINE_API bool inline_complete(struct inline_model *m, const struct inline_request *request,
                                struct inline_result *result, char *error);
INLINE_API void inline_result_clear(struct inline_result *result);

/* Stop the running inline_complete soon; it returns what it has with stop_reason "cancelled". Safe from any
 * thread, from on_text and from a signal handler. A cancel while nothing runs is forgotten: a request
 * starts by clearing the flag, so that a cancel from another thread that comes just before the request has
 * begun is lost too. Who cannot have that cancels again, or returns false from on_text. */
INLINE_API void inline_cancel(struct inline_model *m);

INLINE_API const char *inline_version(void);

#ifdef __cplusplus
}
#endif

#endif
