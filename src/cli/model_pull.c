/* `inline model pull`: from a name to a verified file in the library, with progress on the terminal. */
#include "cli/model.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/size.h"
#include "model/catalogue.h"
#include "model/download.h"
#include "model/library.h"
#include "os/clock.h"

#define URL_LIMIT      65536
#define REDRAW_NS      100000000  /* ten times a second is smooth and costs nothing */
#define PLAIN_STEP     10         /* percent between lines where there is no terminal */
#define RATE_WINDOW_NS 3000000000 /* the rate shown is that of about the last three seconds */

/* Set by Ctrl-C. */
static atomic_bool interrupted; /* layers: allow interrupted, a signal handler reaches nothing but globals */

static void on_interrupt(int number)
{
    (void)number;
    atomic_store_explicit(&interrupted, true, memory_order_relaxed);
}

/* What to download and what to call it. */
struct source {
    char *url;  /* owned */
    char *name; /* owned */
    const char *sha256;
    int64_t bytes;
};

static void source_clear(struct source *src)
{
    mem_free(src->url);
    mem_free(src->name);
}

/* HUB/owner/repo/file -> HUB/owner/repo/resolve/main/file, as the hub serves files; the file may lie in
 * folders. False if the path has fewer than three parts. */
static bool hub_url(const char *hub, const char *path, char **url)
{
    const char *slash = strchr(path, '/');
    const char *file = slash ? strchr(slash + 1, '/') : NULL;
    if (!file || slash == path || file == slash + 1 || !file[1]) return false;
    struct buf text;
    buf_init(&text, URL_LIMIT);
    size_t hub_len = strlen(hub);
    while (hub_len > 0 && hub[hub_len - 1] == '/') hub_len--;
    buf_printf(&text, "%.*s/%.*s/resolve/main%s", (int)hub_len, hub, (int)(file - path), path, file);
    *url = buf_take(&text);
    return true;
}

/* The last part of a URL's path, without query and ".gguf"; the caller frees. */
static char *name_of_url(const char *url)
{
    const char *end = url + strcspn(url, "?#"), *start = end;
    while (start > url && start[-1] != '/') start--;
    if (end - start > 5 && strncasecmp(end - 5, ".gguf", 5) == 0) end -= 5;
    struct buf name;
    buf_init(&name, URL_LIMIT);
    buf_add(&name, start, (size_t)(end - start));
    return buf_take(&name);
}

static enum err unknown_source(const char *spec, struct errmsg *msg)
{
    struct nearest nearest;
    nearest_init(&nearest, spec);
    for (int32_t i = 0; catalogue_at(i); i++) nearest_offer(&nearest, catalogue_at(i)->name);
    if (nearest.best) {
        return err_set(msg, ERR_NOT_FOUND, "no model named \"%s\" is known; did you mean %s?", spec,
                       nearest.best);
    }
    return err_set(msg, ERR_NOT_FOUND,
                   "no model named \"%s\" is known; give a name from: inline model list --available, or "
                   "hf:OWNER/REPO/FILE, or a URL",
                   spec);
}

static enum err find_source(const char *spec, const char *hub, struct source *out, struct errmsg *msg)
{
    const struct catalogue_entry *entry = catalogue_find(spec);
    if (entry) {
        if (!hub_url(hub, entry->hub_path, &out->url)) return unknown_source(spec, msg);
        out->name = mem_dup_str(entry->name);
        out->sha256 = entry->sha256;
        out->bytes = entry->bytes;
        return OK;
    }
    if (strncmp(spec, "hf:", 3) == 0) {
        if (!hub_url(hub, spec + 3, &out->url)) {
            return err_set(msg, ERR_ARG, "%s: expected hf:OWNER/REPO/FILE", spec);
        }
    } else if (strstr(spec, "://")) {
        out->url = mem_dup_str(spec);
    } else {
        return unknown_source(spec, msg);
    }
    out->name = name_of_url(out->url);
    return OK;
}

/* --- Progress ---------------------------------------------------------------------------------------- */

struct meter {
    const char *name;
    bool is_terminal;
    int64_t drawn_ns;               /* when the line was last drawn; 0: never */
    int64_t window_ns, window_done; /* where the rate's window began */
    double rate;                    /* bytes a second; 0: not known yet */
    int last_step;                  /* without a terminal: last step printed, -1: none */
};

/* "0:42", "1:02:03". */
static void duration_text(double seconds, char out[16])
{
    int64_t s = seconds < 359999 ? (int64_t)(seconds + 0.5) : 359999;
    if (s >= 3600) {
        snprintf(out, 16, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    } else {
        snprintf(out, 16, "%d:%02d", (int)(s / 60), (int)(s % 60));
    }
}

/* Fraction done, 0..100; -1 while the size is not known. */
static int percent_of(const struct download_progress *p)
{
    return p->total > 0 ? (int)(p->done * 100 / p->total) : -1;
}

static void draw_bar(const struct meter *m, const struct download_progress *p)
{
    char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX], left[16] = "-:--", bar[21] = "";
    int percent = percent_of(p);
    for (int i = 0; i < 20; i++) bar[i] = i * 5 < percent ? '#' : '.';
    if (m->rate > 0 && p->total > 0) duration_text((double)(p->total - p->done) / m->rate, left);
    fprintf(stderr, "\r%s [%s] %3d%%  %s of %s  %s/s  ETA %s \033[K", m->name, bar, percent < 0 ? 0 : percent,
            size_text(p->done, done), p->total > 0 ? size_text(p->total, total) : "?",
            size_text((int64_t)m->rate, rate), left);
}

static void print_step(struct meter *m, const struct download_progress *p)
{
    char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];
    int percent = percent_of(p);
    if (percent / PLAIN_STEP == m->last_step) return;
    m->last_step = percent / PLAIN_STEP;
    fprintf(stderr, "%s: %s of %s%s\n", m->name, size_text(p->done, done),
            p->total > 0 ? size_text(p->total, total) : "?", p->resumed > 0 ? " (resumed)" : "");
}

static void on_progress(void *ctx, const struct download_progress *p)
{
    struct meter *m = ctx;
    int64_t now = clock_ns();
    if (!m->is_terminal) {
        print_step(m, p);
        return;
    }
    bool is_last = p->total > 0 && p->done == p->total;
    if (m->drawn_ns && now - m->drawn_ns < REDRAW_NS && !is_last) return;
    if (!m->window_ns || p->done < m->window_done) {
        m->window_ns = now;
        m->window_done = p->done;
    } else if (now > m->window_ns) {
        m->rate = (double)(p->done - m->window_done) * 1e9 / (double)(now - m->window_ns);
        /* Slide by half a window, so that the figure neither jumps nor remembers for ever. */
        if (now - m->window_ns > RATE_WINDOW_NS) {
            m->window_done += (p->done - m->window_done) / 2;
            m->window_ns += (now - m->window_ns) / 2;
        }
    }
    m->drawn_ns = now;
    draw_bar(m, p);
}

static enum err accept_model(void *ctx, const char *path, struct errmsg *msg)
{
    struct errmsg reason = {0};
    (void)ctx;
    enum err err = library_validate(path, &reason);
    if (err)
        err_set(msg, err, "the download is not a model that Inline can run, and was deleted: %s",
                reason.text);
    return err;
}

/* --- The command ------------------------------------------------------------------------------------- */

static enum err pull(const struct source *src, const char *path, struct errmsg *msg)
{
    struct meter meter = {.name = src->name, .is_terminal = isatty(STDERR_FILENO), .last_step = -1};
    struct download_request request = {.url = src->url,
                                       .path = path,
                                       .sha256 = src->sha256,
                                       .bytes = src->bytes,
                                       .cancel = &interrupted,
                                       .on_progress = on_progress,
                                       .accept = accept_model,
                                       .ctx = &meter};
    struct download_result result;
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    sigaction(SIGINT, &action, &before);
    enum err err = download_run(&request, &result, msg);
    sigaction(SIGINT, &before, NULL);
    if (meter.drawn_ns) fputc('\n', stderr);
    if (!err) {
        fprintf(stderr, "SHA-256 %s%s\n", result.sha256,
                result.is_verified ? ", as announced" : " (the server announced none to compare with)");
    }
    return err;
}

int cli_model_pull(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_forced = false;
    const char *name = NULL;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0},
                                         {"force", CLI_FLAG, &is_forced, 0, 0},
                                         {"name", CLI_STRING, &name, 0, 0},
                                         {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args != 1) return cli_usage_error("model pull takes one name, hf: path or URL");
    struct errmsg msg = {0};
    struct source src = {0};
    char *path = NULL;
    enum err err = find_source(argv[1], s->hub, &src, &msg);
    if (!err) err = library_place(s->models_dir, name ? name : src.name, is_forced, &path, &msg);
    if (!err) err = pull(&src, path, &msg);
    int status = err ? cli_fail(&msg) : cli_model_report_installed(path, is_json);
    mem_free(path);
    source_clear(&src);
    return status;
}
