/* The projects whose code is indexed (context/project.h), each once for all who work in it. Thread: loop. */
#ifndef COMPLETE_PROJECTS_H
#define COMPLETE_PROJECTS_H

#include <stdbool.h>

struct project;
struct secrets;
struct projects;

/* secrets: borrowed. */
struct projects *projects_new(const struct secrets *secrets);
void projects_free(struct projects **p);

/* Index the folder `root` (absolute) until it was dropped as often as it was held. What cannot be indexed is
 * logged, and held all the same. */
void projects_hold(struct projects *p, const char *root);
void projects_drop(struct projects *p, const char *root);

/* The project of a held folder; null if it has none. */
struct project *projects_find(struct projects *p, const char *root);
/* The project of the innermost held folder that holds this file, and what the file is called in there. Null:
 * none, or the path is not absolute. */
struct project *projects_of_file(struct projects *p, const char *path, const char **relative);

void projects_pause(struct projects *p); /* somebody types */

#endif
