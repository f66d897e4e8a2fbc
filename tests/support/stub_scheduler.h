/* Stands in for infer/scheduler*.c in the programs that include this header: the same functions, no thread,
 * and a "model" of one line of arithmetic instead of an engine's.
 *
 * The test drives it: stub_scheduler_run is the engine's thread for as many tokens as it says. The answer is
 * a function of every byte that the prompt shows, of where the cursor stands in it and of the sampling, one
 * character after the other, as a greedy model's is: what is generated counts as typed, so that the answer
 * behind the first characters of an answer is the rest of it, however either was cut into tokens. */
#ifndef SUPPORT_STUB_SCHEDULER_H
#define SUPPORT_STUB_SCHEDULER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "context/fim.h"
#include "infer/scheduler.h"

#define STUB_N_CTX 4096
#define STUB_TAIL  64 /* bytes before the cursor that shape the text: more than a line of it */
#define STUB_HEAD  8  /* bytes behind the cursor that it may repeat */

/* What a request shows the model. */
struct stub_prompt {
    uint64_t before;          /* hash of all that comes before the cursor, grown byte by byte */
    uint64_t others;          /* hash of everything else that decides the answer */
    char tail[STUB_TAIL];     /* the last bytes before the cursor */
    char head[STUB_HEAD];     /* the first bytes behind it */
    size_t n_tail, n_head;    /* of these */
    size_t n_before, n_after; /* bytes of the document on either side, as far as they are shown */
};
void stub_read(const struct tokenizer *t, const struct fim *f, const struct engine_request *q,
               struct stub_prompt *out);

/* The truth: all that the model says there, within max_tokens. */
enum engine_stop stub_answer(struct stub_prompt p, int32_t max_tokens, struct buf *out);

/* Be the engine's thread: report what was cancelled, then run the best of those that wait, one after the
 * other, until n_tokens were generated in all. Returns how many jobs are left. */
int32_t stub_scheduler_run(struct scheduler *s, int64_t n_tokens);

/* Called with each report before it is given: a test says what the job has cost, or that it failed. Once per
 * scheduler; null: no more. */
void stub_scheduler_on_report(struct scheduler *s,
                              void (*fn)(void *ctx, const struct scheduler_request *r,
                                         struct scheduler_report *report),
                              void *ctx);
/* Called on the loader's thread for each scheduler that is made from now on; null: no more. */
void stub_scheduler_on_new(void (*fn)(void));

struct stub_counts {
    int64_t n_begun;          /* jobs whose prompt was laid out */
    int64_t n_tokens;         /* generated */
    struct stub_prompt asked; /* by the last that began */
    uint64_t asked_hash;      /* of that and its limit of tokens */
};
void stub_scheduler_counts(const struct scheduler *s, struct stub_counts *out);

#endif
