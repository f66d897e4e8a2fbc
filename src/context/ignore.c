/* The patterns of ignore files, in the order in which they were added, the last one that matches deciding.
 * Each file is a group with the folder in which it stands; a group is skipped by one comparison for paths
 * that do not lie in its folder.
 *
 * Compiled patterns stand one after the other in two arrays (elements, classes), which only grow. */
#include "context/ignore.h"

#include <string.h>

#include "base/mem.h"
#include "context/ignore_glob.h"

/* Far above what projects have (Linux: about 250 files with 2,500 patterns); a bound on time, since each path
 * is compared with all patterns of the folders above it. */
#define GROUPS_MAX   ((size_t)4096)
#define PATTERNS_MAX ((size_t)16384)
#define ELEMENTS_MAX ((size_t)1 << 20)
#define CLASSES_MAX  ((size_t)16384)
#define FILE_MAX     ((size_t)256 << 10) /* bytes of one ignore file that are looked at */

struct pattern {
    uint32_t first_element, first_class;
    uint16_t n_elements;
    bool is_negated; /* "!": what matches is not left out */
    bool is_for_dirs;
    bool is_for_names; /* without a slash: compared with the last part of the path */
};

struct group {
    char *dir; /* owned; "" or "a/b" */
    size_t dir_len;
    size_t first, n; /* patterns */
};

struct ignore {
    struct group *groups; /* these four owned */
    struct pattern *patterns;
    uint16_t *elements;
    struct ignore_class *classes;
    size_t n_groups, n_patterns, n_elements, n_classes;
    size_t cap_groups, cap_patterns, cap_elements, cap_classes;
    struct ignore_glob scratch; /* of ignore_add */
};

struct ignore *ignore_new(void)
{
    return MEM_NEW(struct ignore);
}

void ignore_free(struct ignore **i)
{
    if (!*i) return;
    for (size_t g = 0; g < (*i)->n_groups; g++) mem_free((*i)->groups[g].dir);
    mem_free((*i)->groups);
    mem_free((*i)->patterns);
    mem_free((*i)->elements);
    mem_free((*i)->classes);
    mem_free(*i);
    *i = NULL;
}

/* Room for n more items behind *used. False: past max, or no memory. */
static bool reserve(void **items, size_t used, size_t n, size_t *cap, size_t max, size_t bytes)
{
    if (used + n > max) return false;
    if (used + n <= *cap) return true;
    size_t grown = 2 * (used + n);
    void *p = mem_try_resize(*items, grown, bytes);
    if (!p) return false;
    *items = p;
    *cap = grown;
    return true;
}

static bool append(struct ignore *i, struct pattern p, const struct ignore_glob *glob)
{
    size_t n = (size_t)glob->n, n_classes = (size_t)glob->n_classes;
    if (!reserve((void **)&i->patterns, i->n_patterns, 1, &i->cap_patterns, PATTERNS_MAX, sizeof p) ||
        !reserve((void **)&i->elements, i->n_elements, n, &i->cap_elements, ELEMENTS_MAX,
                 sizeof *i->elements) ||
        !reserve((void **)&i->classes, i->n_classes, n_classes, &i->cap_classes, CLASSES_MAX,
                 sizeof *i->classes))
        return false;
    p.first_element = (uint32_t)i->n_elements;
    p.first_class = (uint32_t)i->n_classes;
    p.n_elements = (uint16_t)n;
    memcpy(i->elements + i->n_elements, glob->elements, n * sizeof *glob->elements);
    if (n_classes) memcpy(i->classes + i->n_classes, glob->classes, n_classes * sizeof *glob->classes);
    i->n_elements += n;
    i->n_classes += n_classes;
    i->patterns[i->n_patterns++] = p;
    return true;
}

/* The length without spaces at the end, but for one that a backslash protects. */
static size_t trimmed(const char *line, size_t len)
{
    size_t end = 0;
    for (size_t at = 0; at < len; at++) {
        if (line[at] == ' ') continue;
        if (line[at] == '\\' && at + 1 < len) at++;
        end = at + 1;
    }
    return end;
}

/* False: no room for any more. */
static bool add_line(struct ignore *i, const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r') len--;
    if (len == 0 || *line == '#') return true;
    len = trimmed(line, len);
    struct pattern p = {0};
    if (len > 0 && *line == '!') {
        p.is_negated = true;
        line++, len--;
    }
    if (len > 0 && line[len - 1] == '/') {
        p.is_for_dirs = true;
        len--;
    }
    p.is_for_names = len == 0 || !memchr(line, '/', len);
    if (len > 0 && *line == '/') line++, len--;
    if (len == 0 || !ignore_glob_compile(line, len, &i->scratch)) return true;
    return append(i, p, &i->scratch);
}

void ignore_add(struct ignore *i, const char *dir, const char *text, size_t len)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, as some editors write it */
    if (len > FILE_MAX) len = FILE_MAX;
    const char *end = text + len;
    if (len >= 3 && memcmp(text, mark, 3) == 0) text += 3;
    if (!reserve((void **)&i->groups, i->n_groups, 1, &i->cap_groups, GROUPS_MAX, sizeof *i->groups)) return;
    size_t first = i->n_patterns;
    for (bool has_room = true; text < end && has_room;) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end) line_end = end;
        has_room = add_line(i, text, (size_t)(line_end - text));
        text = line_end + 1;
    }
    if (i->n_patterns == first) return;
    i->groups[i->n_groups++] = (struct group){
        .dir = mem_dup_str(dir), .dir_len = strlen(dir), .first = first, .n = i->n_patterns - first};
}

/* path: relative to the group's folder. */
static bool pattern_has(const struct ignore *i, const struct pattern *p, const char *path, const char *name,
                        bool is_dir)
{
    if (p->is_for_dirs && !is_dir) return false;
    const char *text = p->is_for_names ? name : path;
    return ignore_glob_match(i->elements + p->first_element, p->n_elements, i->classes + p->first_class, text,
                             strlen(text));
}

bool ignore_has(const struct ignore *i, const char *path, bool is_dir)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t g = i->n_groups; g-- > 0;) {
        const struct group *group = &i->groups[g];
        const char *within = path;
        if (group->dir_len > 0) {
            if (strncmp(path, group->dir, group->dir_len) != 0 || path[group->dir_len] != '/') continue;
            within += group->dir_len + 1;
        }
        for (size_t k = group->n; k-- > 0;) {
            const struct pattern *p = &i->patterns[group->first + k];
            if (pattern_has(i, p, within, name, is_dir)) return !p->is_negated;
        }
    }
    return false;
}
