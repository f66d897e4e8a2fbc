/* "Did you mean ...?" by edit distance with transpositions (restricted Damerau-Levenshtein), case ignored. */
#include "base/nearest.h"

#include <stddef.h>
#include <string.h>

#define NAME_MAX_LEN 64 /* longer names are never suggested: three rows of the table stay on the stack */

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static int32_t min3(int32_t a, int32_t b, int32_t c)
{
    int32_t least = a < b ? a : b;
    return least < c ? least : c;
}

static int32_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int32_t rows[3][NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= b_len; j++) rows[0][j] = (int32_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        int32_t *row = rows[i % 3];
        const int32_t *above = rows[(i - 1) % 3];
        const int32_t *above2 = rows[(i + 1) % 3];
        row[0] = (int32_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            int32_t change = lower(a[i - 1]) != lower(b[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + change);
            int is_swap =
                i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
            if (is_swap && above2[j - 2] + 1 < row[j]) row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a_len % 3][b_len];
}

void nearest_init(struct nearest *n, const char *name)
{
    *n = (struct nearest){.name = name};
    /* A third of the letters may be wrong, and at least one: "serv" finds "serve", "x" finds nothing. */
    n->distance = (int32_t)(strlen(name) / 3) + 1;
    if (strlen(name) < 2) n->distance = 0;
}

void nearest_offer(struct nearest *n, const char *candidate)
{
    size_t a_len = strlen(n->name), b_len = strlen(candidate);
    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN) return;
    int32_t distance = edit_distance(n->name, a_len, candidate, b_len);
    if (distance > n->distance || (n->best && distance == n->distance)) return;
    n->distance = distance;
    n->best = candidate;
}
