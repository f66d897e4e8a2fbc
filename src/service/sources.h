/* What a prompt was drawn from, as caches want to know it: text of open documents, which edits move and
 * touch; definitions of the project, which are checked by hash; and lines of files, for the record. */
#ifndef SERVICE_SOURCES_H
#define SERVICE_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "complete/question.h"
#include "context/repository.h"
#include "store/memory_cache.h"
#include "store/record.h"

struct sources { /* stays where it was filled: place.sources points into it */
    struct memory_place place;
    struct memory_source shown[RECORD_SOURCES_MAX];
    struct record_source lines[RECORD_SOURCES_MAX];
    int32_t n_lines;
    uint64_t project; /* id of its repository; 0: none */
    bool is_private;  /* it held secrets */
};

/* number: of the project (projects_number), 0: none; repository: what it is a checkout of, or null. */
void sources_fill(const struct question *q, const struct context_input *in, uint32_t number,
                  const struct repository *repository, struct sources *out);

struct sources *sources_copy(const struct sources *from); /* freed with mem_free; null of null */

/* What memory_source.file names, where that is not an open document: a project's number and a path in it
 * (project_path_hash). */
static inline uint32_t sources_project_of(uint64_t file)
{
    return (uint32_t)(file >> 32);
}
static inline uint32_t sources_path_of(uint64_t file)
{
    return (uint32_t)file;
}

/* record_source.file of a path as prompts show it. */
uint64_t sources_file(const char *path);

#endif
