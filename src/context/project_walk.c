/* Which files of a project are looked at, and when.
 *
 * A walk goes through the folders breadth first, in order of names, so that what a bound leaves out lies deep
 * and is the same each time. It watches each folder before it lists it, so that no change is lost between.
 * Files told to have changed are looked at one by one; a folder that comes or goes, a changed ignore file,
 * and lost events ask for another walk, in which files that are as they were cost a stat(2) each. Symbolic
 * links are not followed: what they lead to is a file of the project under another name, or none of its
 * files. Thread: indexer. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "context/project_impl.h"
#include "os/clock.h"
#include "os/file.h"

#define DEPTH_MAX   64
#define FOLDERS_MAX 16384 /* each costs the system about a kilobyte while it is watched */
#define ENTRIES_MAX 16384 /* of one folder */
#define CHANGED_MAX 1024  /* files told to have changed; if more, a walk is cheaper */
#define EVENTS_MAX  65536 /* taken in at a time: more than the system keeps; who makes them may not stop */
#define IGNORE_MAX  ((size_t)256 << 10)

/* Where folders come and go all the time, walks take at most a twentieth of the time; but nobody waits longer
 * for one than this. */
#define REST_FACTOR 20
#define REST_MAX_NS ((int64_t)10 * 1000000000)

struct names {
    char **items; /* owned, each of them too */
    int32_t n, cap, next;
};

struct watched {
    int32_t id;    /* of notify_add; the array is in their order */
    uint32_t walk; /* the last one that saw it */
    char *path;    /* owned; "" is the root */
};

struct project_walk {
    struct notify *notify; /* borrowed; null: none */
    struct watched *watched;
    int32_t n_watched, cap_watched;
    struct ignore *ignore;
    struct names folders; /* to be visited, of this walk */
    struct names files;   /* to be looked at, of the folder visited last */
    struct names changed; /* files; looked at between walks */
    uint32_t number;      /* of the walk */
    bool is_walking, is_due;
    bool is_urgent;     /* if it is due, it is not put off */
    bool is_watching;   /* all folders that this walk has visited */
    int64_t spent_ns;   /* in listing folders and finding files unchanged, by this walk */
    int64_t not_before; /* clock_ns of the next, if it is due */
    size_t n_bytes;     /* of names and watches */
};

/* ---- Names */

static bool names_add(struct names *l, const char *name, size_t *n_bytes)
{
    if (l->n == l->cap) {
        int32_t cap = l->cap ? 2 * l->cap : 32;
        char **items = mem_try_resize(l->items, (size_t)cap, sizeof *items);
        if (!items) return false;
        *n_bytes += (size_t)(cap - l->cap) * sizeof *items;
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = mem_dup_str(name);
    *n_bytes += strlen(name) + 1;
    return true;
}

/* The next one, which the caller frees; null: there is none. */
static char *names_take(struct names *l, size_t *n_bytes)
{
    if (l->next == l->n) {
        *n_bytes -= (size_t)l->cap * sizeof *l->items;
        mem_free(l->items);
        *l = (struct names){0};
        return NULL;
    }
    char *name = l->items[l->next++];
    *n_bytes -= strlen(name) + 1;
    return name;
}

static void names_clear(struct names *l, size_t *n_bytes)
{
    char *name;
    while ((name = names_take(l, n_bytes))) mem_free(name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_sort(struct names *l, int32_t from)
{
    if (l->n > from) qsort(l->items + from, (size_t)(l->n - from), sizeof *l->items, compare_names);
}

static bool names_has(const struct names *l, const char *name)
{
    for (int32_t i = l->n; i-- > l->next;) {
        if (strcmp(l->items[i], name) == 0) return true;
    }
    return false;
}

/* "dir/name", or the name in the root. False: too long. */
static bool join(char out[PROJECT_PATH_MAX], const char *dir, const char *name)
{
    int len = snprintf(out, PROJECT_PATH_MAX, "%s%s%s", dir, *dir ? "/" : "", name);
    return len >= 0 && (size_t)len < PROJECT_PATH_MAX;
}

/* ---- Watched folders */

/* Where the folder of this number stands, or would. */
static int32_t find_watched(const struct project_walk *w, int32_t id)
{
    int32_t low = 0, high = w->n_watched;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (w->watched[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A folder that is watched already keeps its number, also when it was moved. False: it is not watched. */
static bool watch(struct project_walk *w, const char *root, const char *path)
{
    struct buf full;
    if (!w->notify) return false;
    buf_init(&full, 2 * PATH_MAX);
    buf_printf(&full, "%s/%s", root, path);
    int32_t id = full.err ? -1 : notify_add(w->notify, full.data);
    buf_clear(&full);
    if (id < 0) return false;
    int32_t at = find_watched(w, id);
    if (at < w->n_watched && w->watched[at].id == id) {
        w->n_bytes -= strlen(w->watched[at].path) + 1;
        mem_free(w->watched[at].path);
    } else {
        if (w->n_watched == w->cap_watched) {
            int32_t cap = w->cap_watched ? 2 * w->cap_watched : 64;
            struct watched *p = mem_try_resize(w->watched, (size_t)cap, sizeof *p);
            if (!p) return false;
            w->n_bytes += (size_t)(cap - w->cap_watched) * sizeof *p;
            w->watched = p;
            w->cap_watched = cap;
        }
        memmove(w->watched + at + 1, w->watched + at, (size_t)(w->n_watched - at) * sizeof *w->watched);
        w->n_watched++;
    }
    w->watched[at] = (struct watched){.id = id, .walk = w->number, .path = mem_dup_str(path)};
    w->n_bytes += strlen(path) + 1;
    return true;
}

/* Stop watching folders that the walk did not see. */
static void forget_unseen(struct project_walk *w)
{
    int32_t n = 0;
    for (int32_t i = 0; i < w->n_watched; i++) {
        if (w->watched[i].walk == w->number) {
            w->watched[n++] = w->watched[i];
            continue;
        }
        notify_remove(w->notify, w->watched[i].id);
        w->n_bytes -= strlen(w->watched[i].path) + 1;
        mem_free(w->watched[i].path);
    }
    w->n_watched = n;
}

/* ---- What is looked at */

static bool is_version_control(const char *name)
{
    return strcmp(name, ".git") == 0 || strcmp(name, ".hg") == 0 || strcmp(name, ".svn") == 0;
}

static bool is_ignore_file(const char *name)
{
    return strcmp(name, ".gitignore") == 0 || strcmp(name, ".inlineignore") == 0;
}

static void add_ignore_file(const struct project *p, struct project_walk *w, const char *dir,
                            const char *name)
{
    struct buf full, text;
    struct stat st;
    buf_init(&full, 2 * PATH_MAX);
    buf_init(&text, IGNORE_MAX);
    buf_printf(&full, "%s/%s/%s", p->root, dir, name);
    bool is_file = !full.err && lstat(full.data, &st) == 0 && S_ISREG(st.st_mode);
    if (is_file && !file_read(full.data, &text, NULL)) ignore_add(w->ignore, dir, buf_str(&text), text.len);
    buf_clear(&text);
    buf_clear(&full);
}

/* DT_UNKNOWN is what some file systems say. */
static void tell_kind(int dir_fd, const struct dirent *e, bool *is_dir, bool *is_file)
{
    struct stat st;
    *is_dir = e->d_type == DT_DIR;
    *is_file = e->d_type == DT_REG;
    if (e->d_type != DT_UNKNOWN || fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    *is_dir = S_ISDIR(st.st_mode);
    *is_file = S_ISREG(st.st_mode);
}

static int32_t depth_of(const char *path)
{
    int32_t depth = *path ? 1 : 0;
    for (; *path; path++) depth += *path == '/';
    return depth;
}

/* False: not all of it could be taken. */
static bool list_folder(struct project *p, struct project_walk *w, const char *dir, DIR *stream)
{
    char path[PROJECT_PATH_MAX];
    int32_t first_folder = w->folders.n, n_entries = 0;
    bool is_whole = true;
    for (struct dirent *e; (e = readdir(stream));) {
        bool is_dir, is_file;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        tell_kind(dirfd(stream), e, &is_dir, &is_file);
        if ((!is_dir && !is_file) || (is_dir && is_version_control(e->d_name))) continue;
        bool fits = ++n_entries <= ENTRIES_MAX && join(path, dir, e->d_name);
        if (fits && ((is_file && !project_file_is_wanted(p, path)) || ignore_has(w->ignore, path, is_dir)))
            continue;
        if (is_dir) fits = fits && w->folders.n < FOLDERS_MAX && depth_of(path) <= DEPTH_MAX;
        is_whole &= fits && names_add(is_file ? &w->files : &w->folders, path, &w->n_bytes);
    }
    names_sort(&w->files, 0);
    names_sort(&w->folders, first_folder);
    return is_whole;
}

static void visit(struct project *p, struct project_walk *w, const char *dir)
{
    struct buf full;
    bool is_watched = watch(w, p->root, dir);
    add_ignore_file(p, w, dir, ".gitignore");
    add_ignore_file(p, w, dir, ".inlineignore");
    buf_init(&full, 2 * PATH_MAX);
    buf_printf(&full, "%s/%s", p->root, dir);
    DIR *stream = full.err ? NULL : opendir(full.data);
    buf_clear(&full);
    if (!stream) return;
    w->is_watching &= is_watched;
    if (!list_folder(p, w, dir, stream)) atomic_store(&p->is_limited, true);
    closedir(stream);
}

static struct project_file *find_known(const struct project *p, const char *path)
{
    return (struct project_file *)project_table_file(project_table_own(&p->tables), path, strlen(path));
}

static void look_at(struct project *p, struct project_walk *w, const char *path)
{
    struct project_file *known = find_known(p, path), *file;
    if (!known && p->is_full) return;
    int64_t start = clock_ns();
    switch (project_file_read(p, path, known, &file)) {
    case PROJECT_READ:
        file->walk = w->number;
        project_put(p, known, file);
        break;
    case PROJECT_UNCHANGED:
        known->walk = w->number;
        w->spent_ns += clock_ns() - start;
        break;
    case PROJECT_GONE:
        if (known) project_put(p, known, NULL);
        break;
    case PROJECT_STOPPED:
        break;
    }
}

/* ---- The walk */

struct project_walk *project_walk_new(struct notify *notify)
{
    struct project_walk *w = MEM_NEW(struct project_walk);
    w->notify = notify;
    return w;
}

void project_walk_free(struct project_walk **w)
{
    if (!*w) return;
    for (int32_t i = 0; i < (*w)->n_watched; i++) mem_free((*w)->watched[i].path);
    mem_free((*w)->watched);
    names_clear(&(*w)->folders, &(*w)->n_bytes);
    names_clear(&(*w)->files, &(*w)->n_bytes);
    names_clear(&(*w)->changed, &(*w)->n_bytes);
    ignore_free(&(*w)->ignore);
    mem_free(*w);
    *w = NULL;
}

void project_walk_begin(struct project_walk *w)
{
    w->is_due = w->is_urgent = true;
}

void project_walk_suggest(struct project_walk *w)
{
    w->is_due = true;
}

void project_walk_hurry(struct project_walk *w)
{
    w->is_urgent = w->is_due;
}

static void start(struct project *p, struct project_walk *w)
{
    w->is_due = w->is_urgent = false;
    w->is_walking = w->is_watching = true;
    w->number++;
    w->spent_ns = 0;
    p->is_full = false;
    atomic_store(&p->is_limited, false);
    names_clear(&w->changed, &w->n_bytes); /* the walk will see them */
    ignore_free(&w->ignore);
    w->ignore = ignore_new();
    add_ignore_file(p, w, "", ".git/info/exclude");
    names_add(&w->folders, "", &w->n_bytes);
}

/* What the walk did not see is not there any more. */
static void finish(struct project *p, struct project_walk *w)
{
    const struct project_map *paths = &project_table_own(&p->tables)->paths;
    struct project_file **gone = mem_try(paths->n_links, sizeof *gone);
    size_t n = 0;
    for (uint32_t i = 0; gone && i < paths->n_links; i++) {
        struct project_file *f = paths->links[i].file;
        if (f && f->walk != w->number) gone[n++] = f;
    }
    for (size_t i = 0; i < n; i++) project_put(p, gone[i], NULL);
    mem_free(gone);
    if (n > 0 && p->is_full) w->is_due = true; /* there is room for others now */
    forget_unseen(w);
    w->is_walking = false;
    atomic_store(&p->is_watched, w->is_watching);
    int64_t rest = REST_FACTOR * w->spent_ns;
    w->not_before = clock_ns() + (rest < REST_MAX_NS ? rest : REST_MAX_NS);
}

static bool is_start_due(const struct project_walk *w)
{
    return w->is_due && (w->is_urgent || clock_ns() >= w->not_before);
}

bool project_walk_step(struct project *p, struct project_walk *w)
{
    char *path;
    if (!w->is_walking && is_start_due(w)) start(p, w);
    if (!w->is_walking) {
        if (!(path = names_take(&w->changed, &w->n_bytes))) return false;
        look_at(p, w, path);
    } else if ((path = names_take(&w->files, &w->n_bytes))) {
        look_at(p, w, path);
    } else if ((path = names_take(&w->folders, &w->n_bytes))) {
        int64_t began = clock_ns();
        visit(p, w, path);
        w->spent_ns += clock_ns() - began;
    } else {
        finish(p, w);
    }
    mem_free(path);
    return true;
}

int32_t project_walk_delay_ms(const struct project_walk *w)
{
    if (!w->is_due) return -1;
    int64_t left = w->is_urgent ? 0 : w->not_before - clock_ns();
    return left > 0 ? (int32_t)(left / 1000000) + 1 : 0;
}

int32_t project_walk_n_waiting(const struct project_walk *w)
{
    return w->folders.n - w->folders.next + w->files.n - w->files.next + w->changed.n - w->changed.next +
           w->is_due;
}

size_t project_walk_bytes(const struct project_walk *w)
{
    return sizeof *w + w->n_bytes;
}

/* ---- Changes */

static void hear(const struct project *p, struct project_walk *w, const struct notify_event *e)
{
    char path[PROJECT_PATH_MAX];
    int32_t at = find_watched(w, e->dir);
    bool is_known = at < w->n_watched && w->watched[at].id == e->dir;
    if (e->dir >= 0 && !is_known) return;
    if (e->dir < 0 || !*e->name || is_ignore_file(e->name)) {
        w->is_due = true;
        return;
    }
    if (is_version_control(e->name) || !join(path, w->watched[at].path, e->name)) return;
    if (ignore_has(w->ignore, path, e->is_dir)) return;
    if (e->is_dir) {
        w->is_due = true;
    } else if (project_file_is_wanted(p, path) && !names_has(&w->changed, path)) {
        bool has_room = w->changed.n - w->changed.next < CHANGED_MAX;
        if (!has_room || !names_add(&w->changed, path, &w->n_bytes)) w->is_due = true;
    }
}

bool project_walk_listen(const struct project *p, struct project_walk *w, int32_t timeout_ms)
{
    struct notify_event e;
    int32_t n = 0;
    if (!w->notify) return false;
    while (n < EVENTS_MAX && notify_next(w->notify, n ? 0 : timeout_ms, &e)) {
        hear(p, w, &e);
        n++;
    }
    return n > 0;
}
