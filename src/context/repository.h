/* What a project is, apart from where it lies: so that several checkouts and worktrees of one repository
 * share what is kept of it, and show the same name in prompts. Thread: any. */
#ifndef CONTEXT_REPOSITORY_H
#define CONTEXT_REPOSITORY_H

#include <stdint.h>

struct repository {
    char
        name[64]; /* the last part of what tells the id, without ".git"; cut if longer; "" if it is no text */
    uint64_t id;  /* never 0 */
};

/* The repository that the folder `root` (absolute) is in, told by the address of its Git remote "origin",
 * however it is written; without one, by where the repository lies; without a repository, by the folder.
 * Reads three small files at most. */
void repository_of(const char *root, struct repository *out);

#endif
