/* How fast this machine multiplies weights, measured in about half a second: what foretells a model's speed
 * without the model. */
#ifndef CLI_SPEED_H
#define CLI_SPEED_H

#include <stdint.h>

#include "base/err.h"

/* Nanoseconds that one weight takes, from memory, with all threads. */
struct speed_format {
    double one;   /* multiplied with one token: decoding */
    double eight; /* with eight at once */
    double many;  /* for each token of a large batch: reading a file's text */
};

struct speed {
    char isa[16];
    int32_t n_threads;
    double read_gb_s;         /* weights of 8 bits as decoding reads them */
    double products_s;        /* multiply-adds in a second, of large batches of those */
    struct speed_format q8_0; /* models of 8 bits */
    struct speed_format q4_k; /* of 4 */
};

/* n_threads 0: one for each processor that may be used; isa "" or null: the fastest. ERR_NOMEM;
 * ERR_UNSUPPORTED: no such isa here. */
MUST_CHECK enum err speed_measure(int32_t n_threads, const char *isa, struct speed *out, struct errmsg *msg);

#endif
