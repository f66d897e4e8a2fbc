/* Downloading one large file: resumed after interruptions, verified, renamed into place when complete.
 *
 * While it runs, PATH.part holds the bytes and PATH.part.info what the server said the file was, so that a
 * file that changed in between is started again rather than spliced. Only https is spoken, and http to this
 * machine itself. */
#ifndef MODEL_DOWNLOAD_H
#define MODEL_DOWNLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/sha256.h"

struct download_progress {
    int64_t done;    /* bytes of the file that are here */
    int64_t total;   /* of the whole file; 0 while not known */
    int64_t resumed; /* of done, what an earlier run had left */
};

struct download_request {
    const char *url;
    const char *path;          /* the finished file; its directory exists */
    const char *sha256;        /* expected, hex; or null: the server's, where it names one */
    int64_t bytes;             /* expected; 0: not known */
    const atomic_bool *cancel; /* or null; polled about once a second, and with every piece of data */
    void (*on_progress)(void *ctx, const struct download_progress *p); /* or null */
    /* Asked about the complete file before it gets its name; or null. On an error it is deleted. */
    enum err (*accept)(void *ctx, const char *path, struct errmsg *msg);
    void *ctx;
};

struct download_result {
    struct download_progress progress;
    char sha256[SHA256_HEX]; /* of the file */
    bool is_verified;        /* against a hash that the request or the server named */
};

/* ERR_NETWORK: the server cannot be reached or broke off for good; what is here is kept, and the same
 * request resumes. ERR_CANCELLED likewise. ERR_FORMAT: not the expected content; nothing is kept.
 * ERR_IO: local, for example no space. Broken connections are retried while they make progress. */
MUST_CHECK enum err download_run(const struct download_request *request, struct download_result *result,
                                 struct errmsg *msg);

/* Delete what an interrupted download of path left behind. */
void download_forget(const char *path);

#endif
