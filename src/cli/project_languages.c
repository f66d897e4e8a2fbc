/* See project_languages.h. Folders are visited breadth first, so that where the bounds end it, what lies near
 * the top was seen. */
#include "cli/project_languages.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "context/ignore.h"
#include "context/language.h"
#include "os/clock.h"
#include "os/file.h"

#define PATIENCE_MS 500
#define FOLDERS_MAX 4096
#define PATH_LIMIT  4096
#define IGNORE_MAX  ((size_t)256 << 10)
#define KINDS_MAX   128 /* languages that are told apart; language.c knows fewer */

struct walk {
    const char *root;
    struct ignore *ignore;
    char *folders[FOLDERS_MAX]; /* relative to the root, owned; "" is the root */
    int32_t n_folders;
    const struct language *kinds[KINDS_MAX];
    int32_t counts[KINDS_MAX], n_kinds;
    bool is_partial;
};

/* Not what somebody writes line by line: these say nothing about which model is good. */
static bool is_data(const struct language *l)
{
    static const char *const DATA[] = {"json", "jsonc", "yaml",      "xml",  "csv",
                                       "ini",  "toml",  "plaintext", "diff", "makefile"};
    for (size_t i = 0; i < sizeof DATA / sizeof *DATA; i++) {
        if (strcmp(l->name, DATA[i]) == 0) return true;
    }
    return l->is_prose;
}

static void count_file(struct walk *w, const char *path)
{
    const struct language *l = language_of_path(path, NULL, 0);
    if (is_data(l)) return;
    int32_t at = 0;
    while (at < w->n_kinds && w->kinds[at] != l) at++;
    if (at == KINDS_MAX) return;
    if (at == w->n_kinds) w->kinds[w->n_kinds++] = l;
    w->counts[at]++;
}

static bool join(char out[PATH_LIMIT], const char *dir, const char *name)
{
    int len = snprintf(out, PATH_LIMIT, "%s%s%s", dir, *dir ? "/" : "", name);
    return len >= 0 && len < PATH_LIMIT;
}

static void add_ignores(struct walk *w, const char *folder)
{
    static const char *const FILES[] = {".gitignore", ".inlineignore"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char inside[PATH_LIMIT], path[PATH_LIMIT];
        struct buf text;
        buf_init(&text, IGNORE_MAX);
        if (join(inside, folder, FILES[i]) && join(path, w->root, inside) &&
            file_read(path, &text, NULL) == OK)
            ignore_add(w->ignore, folder, buf_str(&text), text.len);
        buf_clear(&text);
    }
}

static void visit_entry(struct walk *w, const char *folder, const char *name)
{
    char inside[PATH_LIMIT], path[PATH_LIMIT];
    struct stat st;
    if (name[0] == '.' || !join(inside, folder, name) || !join(path, w->root, inside)) return;
    if (lstat(path, &st) != 0) return; /* links are not followed: what they lead to is counted where it is */
    bool is_folder = S_ISDIR(st.st_mode);
    if ((!is_folder && !S_ISREG(st.st_mode)) || ignore_has(w->ignore, inside, is_folder)) return;
    if (!is_folder)
        count_file(w, inside);
    else if (w->n_folders < FOLDERS_MAX)
        w->folders[w->n_folders++] = mem_dup_str(inside);
    else
        w->is_partial = true;
}

static void visit_folder(struct walk *w, const char *folder, int64_t start_ns)
{
    char path[PATH_LIMIT];
    DIR *d = join(path, w->root, folder) ? opendir(path) : NULL;
    if (!d) return;
    add_ignores(w, folder);
    for (struct dirent *e; !w->is_partial && (e = readdir(d));) {
        visit_entry(w, folder, e->d_name);
        w->is_partial = w->is_partial || clock_ms_since(start_ns) > PATIENCE_MS;
    }
    closedir(d);
}

static void take_commonest(const struct walk *w, struct project_languages *out)
{
    bool is_taken[KINDS_MAX] = {false};
    for (int32_t i = 0; i < w->n_kinds; i++) out->n_files += w->counts[i];
    for (; out->n < PROJECT_LANGUAGES_MAX && out->n < w->n_kinds; out->n++) {
        int32_t best = -1;
        for (int32_t i = 0; i < w->n_kinds; i++) {
            if (!is_taken[i] && (best < 0 || w->counts[i] > w->counts[best])) best = i;
        }
        is_taken[best] = true;
        out->list[out->n].name = w->kinds[best]->name;
        out->list[out->n].n_files = w->counts[best];
    }
}

void project_languages_count(const char *dir, struct project_languages *out)
{
    struct walk *w = MEM_NEW(struct walk);
    int64_t start_ns = clock_ns();
    *out = (struct project_languages){0};
    w->root = *dir ? dir : ".";
    w->ignore = ignore_new();
    w->folders[w->n_folders++] = mem_dup_str("");
    for (int32_t i = 0; i < w->n_folders; i++) {
        if (!w->is_partial) visit_folder(w, w->folders[i], start_ns);
        mem_free(w->folders[i]);
    }
    take_commonest(w, out);
    out->is_partial = w->is_partial;
    ignore_free(&w->ignore);
    mem_free(w);
}
