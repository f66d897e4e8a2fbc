/* Random matrices and activations for the tests and benchmarks of kern/, in memory that ends at an
 * unreadable page, so that reading one byte past an input ends the program. */
#ifndef TESTS_KERN_DATA_H
#define TESTS_KERN_DATA_H

#include "kern/kern.h"

/* bytes of memory, zeroed, the last of them just before the unreadable page. Aborts when out of memory. */
struct region {
    void *data;
    void *map; /* the pages; owned */
    size_t map_bytes;
};
struct region region_new(size_t bytes);
void region_free(struct region *r);

/* A reproducible sequence. */
uint32_t random_u32(void);
float random_float(float min, float max);

/* The supported formats. */
extern const enum kern_type data_types[];
extern const int32_t data_n_types;

/* Random blocks, scales within +-0.05, as many as n_weights need. */
void data_fill_blocks(enum kern_type type, void *blocks, size_t n_weights);

/* Blocks of quantized weights whose bytes all have this value, but for the random scales. */
void data_fill_extreme(enum kern_type type, void *blocks, size_t n_weights, uint8_t value);

/* A random matrix whose data lie in *memory, which the caller frees. */
struct kern_mat data_matrix(enum kern_type type, int32_t n_rows, int32_t n_cols, struct region *memory);

/* Random activations, quantized by k where n_cols allows it. */
struct activations {
    struct kern_act act;
    struct region f, q, d, s; /* owned */
};
struct activations data_activations(const struct kern *k, int32_t n_tokens, int32_t n_cols);
void data_free_activations(struct activations *a);

/* --bench: time attention and the products of a 0.5B model's shapes for every variant and format, or only
 * "attend" or the format of this name, and print a table. */
int bench_run(const struct kern *const *variants, int32_t n_variants, const char *only);

#endif
