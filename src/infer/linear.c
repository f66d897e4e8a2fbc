/* Linear layers over the worker threads. Rows of the matrices are cut into tasks of about equal work. */
#include "infer/linear.h"

#include "kern/pack.h"
#include "os/pool.h"

/* Tasks per thread: enough that a thread that loses its core delays the others little, few enough that
 * claiming them costs nothing. */
#define TASKS_PER_THREAD 6
/* Multiplications of a task at most: a fraction of a millisecond, after which a cancellation is noticed. */
#define TASK_PRODUCTS ((int64_t)32 << 20)
/* From so many tokens on, kernels may want larger tasks (kern.task_rows). */
#define MANY_TOKENS 32
/* Rows per task come in this step: whole panels of packed weights, whole register tiles of others. */
#define ROW_STEP PACK_ROWS

struct job {
    const struct compute *c;
    const struct linear *ops;
    int32_t n_ops;
    int32_t rows_per_task;
};

static int32_t tasks_of(const struct job *job, const struct linear *op)
{
    return (op->w.n_rows + job->rows_per_task - 1) / job->rows_per_task;
}

static void multiply(const struct compute *c, const struct kern_mat *w, const float *bias,
                     const struct kern_act *x, int32_t row0, int32_t row1, float *y, void *scratch)
{
    size_t stride = (size_t)w->n_rows;
    c->kern->matmul(w, x, row0, row1, y, stride, scratch);
    if (!bias) return;
    for (int32_t t = 0; t < x->n_tokens; t++) c->kern->add(y + t * stride + row0, bias + row0, row1 - row0);
}

static void run_rows(const struct compute *c, const struct linear *op, int32_t row0, int32_t row1,
                     void *scratch)
{
    size_t stride = (size_t)op->w.n_rows;
    multiply(c, &op->w, op->bias, &op->x, row0, row1, op->y, scratch);
    if (op->up.data) multiply(c, &op->up, op->up_bias, &op->x, row0, row1, op->up_y, scratch);
    for (int32_t t = 0; t < op->x.n_tokens; t++) {
        float *y = op->y + t * stride + row0;
        if (op->up.data) op->gate(y, op->up_y + t * stride + row0, row1 - row0);
        if (op->activate) op->activate(y, row1 - row0);
    }
}

static void run_task(void *ctx, int32_t task, int32_t worker)
{
    const struct job *job = ctx;
    const struct linear *op = job->ops;
    if (limits_are_over(job->c->limits)) return;
    for (int32_t n = tasks_of(job, op); task >= n; n = tasks_of(job, op)) {
        task -= n;
        op++;
    }
    int32_t row0 = task * job->rows_per_task;
    int32_t row1 = row0 + job->rows_per_task < op->w.n_rows ? row0 + job->rows_per_task : op->w.n_rows;
    run_rows(job->c, op, row0, row1, job->c->scratch + (size_t)worker * job->c->scratch_bytes);
}

void linear_run(const struct compute *c, const struct linear *ops, int32_t n_ops)
{
    struct job job = {.c = c, .ops = ops, .n_ops = n_ops};
    int64_t n_rows = 0;
    for (int32_t i = 0; i < n_ops; i++) n_rows += ops[i].w.n_rows;
    int32_t n_threads = pool_threads(c->pool);
    int64_t per_task = n_threads > 1 ? n_rows / (n_threads * TASKS_PER_THREAD) : n_rows;
    int64_t products = (int64_t)ops->w.n_cols * ops->x.n_tokens * (ops->up.data ? 2 : 1);
    if (per_task > TASK_PRODUCTS / products) per_task = TASK_PRODUCTS / products;
    int64_t least = c->kern->task_rows, fair = (n_rows + n_threads - 1) / n_threads;
    if (least > fair) least = fair;
    if (ops->x.n_tokens >= MANY_TOKENS && per_task < least) per_task = least - 1; /* is rounded up */
    job.rows_per_task = (int32_t)((per_task + ROW_STEP) / ROW_STEP * ROW_STEP);
    int32_t n_tasks = 0;
    for (int32_t i = 0; i < n_ops; i++) n_tasks += tasks_of(&job, &ops[i]);
    pool_run(c->pool, n_tasks, run_task, &job);
}

struct quantize_job {
    const struct compute *c;
    const float *f;
    int32_t n_cols;
    const struct act_buffer *out;
};

static void quantize_token(void *ctx, int32_t token, int32_t worker)
{
    (void)worker;
    const struct quantize_job *job = ctx;
    size_t at = (size_t)token * (size_t)job->n_cols;
    job->c->kern->quantize(job->f + at, job->n_cols, job->out->q + at, job->out->d + at / 32,
                           job->out->s + at / 16);
}

struct kern_act linear_act(const struct compute *c, const struct kern_mat *w, const float *f,
                           int32_t n_tokens, int32_t n_cols, const struct act_buffer *buffer)
{
    struct kern_act x = {.f = f, .n_tokens = n_tokens, .n_cols = n_cols};
    if (!kern_type_info(w->type)->is_quantized) return x;
    struct quantize_job job = {.c = c, .f = f, .n_cols = n_cols, .out = buffer};
    linear_for_tokens(c, n_tokens, quantize_token, &job);
    x.q = buffer->q;
    x.d = buffer->d;
    x.s = buffer->s;
    return x;
}

void linear_for_tokens(const struct compute *c, int32_t n_tokens,
                       void (*fn)(void *ctx, int32_t token, int32_t worker), void *ctx)
{
    if (n_tokens > 1)
        pool_run(c->pool, n_tokens, fn, ctx);
    else
        fn(ctx, 0, 0);
}
