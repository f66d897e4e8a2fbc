/* Which languages a folder's files are written in. */
#ifndef CLI_PROJECT_LANGUAGES_H
#define CLI_PROJECT_LANGUAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PROJECT_LANGUAGES_MAX 16

struct project_languages {
    struct {
        const char *name; /* as language.h has it */
        int32_t n_files;
    } list[PROJECT_LANGUAGES_MAX]; /* the commonest first */
    int32_t n;
    int32_t n_files; /* of code, in all languages */
    bool is_partial; /* there was too much to look at all of it */
};

/* Counts source files in dir and below, but those that .gitignore and .inlineignore leave out, hidden ones,
 * data and prose. Looks at names only, for half a second at most. Nothing where there is no such folder. */
void project_languages_count(const char *dir, struct project_languages *out);

#endif
