/* The models that `inline model pull` knows by name: a data table, best first. */
#ifndef MODEL_CATALOGUE_H
#define MODEL_CATALOGUE_H

#include <stdint.h>

struct catalogue_entry {
    const char *name;     /* "qwen2.5-coder-0.5b" */
    const char *hub_path; /* "owner/repo/file.gguf" on the hub */
    int64_t bytes;        /* size of the file; 0 if not known for certain: the server then tells */
    const char *sha256;   /* hex, or null if not known for certain: then the server's header is used */
    const char *note;     /* what it is good for, one line */
};

const struct catalogue_entry *catalogue_find(const char *name); /* case ignored; null if unknown */
const struct catalogue_entry *catalogue_at(int32_t i);          /* null past the end */

#endif
