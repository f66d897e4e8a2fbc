/* `inline explain`: one request's story, or a table of the last ones, as the running daemon tells it (GET
 * /journal). What the daemon does not know any more, or where none runs, the journal on disk is read, if one
 * is kept (journal.days); it is made into the same answers, so that the rest need not know. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "os/dirs.h"
#include "os/file.h"
#include "service/service.h"
#include "store/journal_disk.h"
#include "watch/journal.h"

#define REPORT_LIMIT ((size_t)4 << 20)
#define LIST_USUAL   20
#define LIST_MAX     1000 /* as many as the daemon tells at once */

/* Among so many of the newest records one that a person asked for is looked for. */
#define LAST_AMONG 1000

struct question {
    uint64_t id; /* 0: the last one */
    int64_t n;   /* of a list */
    bool is_list, is_json;
};

/* ---- The journal on disk ---- */

static void add_listed(void *ctx, const struct journal_record *r, const char *model)
{
    struct json *j = ctx;
    json_begin_object(j, NULL);
    journal_write(r, model, j);
    json_end_object(j);
}

static enum err list_from_disk(const char *path, int64_t n, struct buf *out, struct errmsg *msg)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_begin_array(&j, "requests");
    enum err err = journal_disk_list(path, 0, (int32_t)n, add_listed, &j, msg);
    json_end_array(&j);
    json_end_object(&j);
    return err;
}

struct last {
    struct journal_record record; /* id 0: none yet */
    char model[JOURNAL_NAME_MAX];
};

/* Called from the newest on: keeps the first that a person asked for, else the first. */
static void take_last(void *ctx, const struct journal_record *r, const char *model)
{
    struct last *last = ctx;
    bool is_persons = r->priority <= SERVICE_TYPING;
    if (last->record.id != 0 && (last->record.priority <= SERVICE_TYPING || !is_persons)) return;
    last->record = *r;
    memcpy(last->model, model, strlen(model) + 1);
}

static enum err one_from_disk(const char *path, uint64_t id, struct buf *out, struct errmsg *msg)
{
    struct last one = {.record = {.id = 0}};
    struct json j;
    enum err err = id > 0 ? journal_disk_find(path, id, &one.record, one.model, msg)
                          : journal_disk_list(path, 0, LAST_AMONG, take_last, &one, msg);
    if (err) return err;
    if (one.record.id == 0) return err_set(msg, ERR_NOT_FOUND, "%s: there are no requests in it", path);
    json_init(&j, out);
    json_begin_object(&j, NULL);
    journal_write_story(&one.record, one.model, &j);
    json_end_object(&j);
    return OK;
}

static enum err ask_disk(const struct question *q, struct json_value **answer, struct errmsg *msg)
{
    struct buf text;
    char *path = dirs_path(DIR_STATE, "journal.db");
    buf_init(&text, REPORT_LIMIT);
    enum err err =
        q->is_list ? list_from_disk(path, q->n, &text, msg) : one_from_disk(path, q->id, &text, msg);
    if (!err && text.err) err = err_set(msg, text.err, "%s: %s", path, err_text(text.err));
    if (!err) err = json_read(buf_str(&text), text.len, answer, msg);
    buf_clear(&text);
    mem_free(path);
    return err;
}

static bool has_disk(void)
{
    char *path = dirs_path(DIR_STATE, "journal.db");
    bool is_there = file_size(path) >= 0;
    mem_free(path);
    return is_there;
}

/* ---- Who knows ---- */

static enum err ask_daemon(const struct settings *s, const struct question *q, struct json_value **answer,
                           struct errmsg *msg)
{
    struct buf path;
    buf_init(&path, 128);
    if (q->is_list)
        buf_printf(&path, "/journal?n=%" PRId64, q->n);
    else if (q->id > 0)
        buf_printf(&path, "/journal?id=%" PRIu64, q->id);
    else
        buf_add_str(&path, "/journal?id=last");
    enum err err = cli_ask(s, buf_str(&path), NULL, answer, msg);
    buf_clear(&path);
    return err;
}

/* A daemon that was just started knows nothing of the requests before it. */
static bool knows_nothing(const struct question *q, const struct json_value *answer)
{
    return q->is_list && json_count(json_get(answer, "requests")) == 0;
}

static enum err ask(const struct settings *s, const struct question *q, struct json_value **answer,
                    struct errmsg *msg)
{
    struct json_value *kept = NULL;
    enum err err = ask_daemon(s, q, answer, msg);
    if (!err && !knows_nothing(q, *answer)) return OK;
    if (!has_disk()) {
        if (err != ERR_NOT_FOUND) return err;
        return err_set(msg, err,
                       "no daemon is running that knows, and no requests are kept on disk; to keep them, set "
                       "journal.days (see: inline config)");
    }
    enum err disk_err = ask_disk(q, &kept, err == ERR_NOT_FOUND ? msg : NULL);
    if (disk_err) return err == ERR_NOT_FOUND ? disk_err : err;
    json_read_free(answer);
    *answer = kept;
    return OK;
}

/* ---- For people ---- */

static int64_t number(const struct json_value *object, const char *key)
{
    int64_t n = 0;
    (void)json_get_int(json_get(object, key), &n);
    return n;
}

static const char *text(const struct json_value *object, const char *key)
{
    const char *s = json_get_str(json_get(object, key), NULL);
    return s ? s : "";
}

static void add_story(const struct json_value *request, struct buf *out)
{
    const struct json_value *story = json_get(request, "story");
    buf_printf(out, "Request %" PRId64 "\n\n", number(request, "id"));
    for (size_t i = 0; i < json_count(story); i++) {
        const char *sentence = json_get_str(json_at(story, i), NULL);
        buf_printf(out, "%s\n", sentence ? sentence : "");
    }
}

static void add_clock(struct buf *out, int64_t at_ms)
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm t;
    if (localtime_r(&at, &t))
        buf_printf(out, "%02d-%02d %02d:%02d:%02d", t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    else
        buf_printf(out, "%14s", "?");
}

/* What came of it, in a few words. */
static void add_result(const struct json_value *r, struct buf *out)
{
    int64_t other = number(r, "other"), n = number(r, "chars");
    if (*text(r, "quiet"))
        buf_printf(out, "nothing: %s", text(r, "quiet"));
    else if (*text(r, "error"))
        buf_printf(out, "error: %s", text(r, "error"));
    else if (strcmp(text(r, "outcome"), "superseded") == 0 && other > 0)
        buf_printf(out, "by %" PRId64, other);
    else if (n > 0)
        buf_printf(out, "%" PRId64 " byte%s%s%s", n, n == 1 ? "" : "s", *text(r, "fate") ? ", " : "",
                   text(r, "fate"));
    else
        buf_add_char(out, '-');
}

static void add_row(const struct json_value *r, struct buf *out)
{
    double ms = 0;
    (void)json_get_num(json_get(r, "total_ms"), &ms);
    const char *source = text(r, "source"), *miss = text(r, "miss");
    int64_t at_hand = number(r, "reused") + number(r, "restored") + number(r, "moved");
    buf_printf(out, "%7" PRId64 "  ", number(r, "id"));
    add_clock(out, number(r, "at_ms"));
    buf_printf(out, "  %-10s  %-11s  %9.1f  %8" PRId64 "  %7" PRId64 "  %-9s  ", text(r, "api"),
               text(r, "outcome"), ms, number(r, "computed"), at_hand,
               *source ? source
               : *miss ? miss
                       : "-");
    add_result(r, out);
    buf_add_char(out, '\n');
}

static void add_table(const struct json_value *answer, struct buf *out)
{
    const struct json_value *list = json_get(answer, "requests");
    size_t n = json_count(list);
    if (n == 0) {
        buf_add_str(out, "There was no request yet.\n");
        return;
    }
    buf_printf(out, "%7s  %-14s  %-10s  %-11s  %9s  %8s  %7s  %-9s  %s\n", "ID", "TIME", "DOOR", "OUTCOME",
               "MS", "COMPUTED", "AT HAND", "CACHE", "RESULT");
    for (size_t i = 0; i < n; i++) add_row(json_at(list, i), out);
    buf_add_str(out,
                "\nCOMPUTED and AT HAND are tokens of the prompt; CACHE says where the answer was found, or "
                "why not.\nA request's story: inline explain ID\n");
}

/* ---- The command ---- */

/* True if all of text is a number from 1 to max. */
static bool read_number(const char *arg, uint64_t max, uint64_t *out)
{
    char *end;
    if (arg[0] < '0' || arg[0] > '9') return false;
    *out = strtoull(arg, &end, 10); /* saturates, which is beyond max */
    return *end == '\0' && *out >= 1 && *out <= max;
}

static bool read_question(int n_args, char **argv, struct question *q)
{
    uint64_t n = LIST_USUAL;
    if (n_args > 1) {
        (void)cli_usage_error("explain takes one ID, or --list and a number of requests");
        return false;
    }
    if (q->is_list) {
        if (n_args == 1 && !read_number(argv[1], LIST_MAX, &n)) {
            (void)cli_usage_error("--list %s: a number of requests from 1 to %d", argv[1], LIST_MAX);
            return false;
        }
        q->n = (int64_t)n;
    } else if (n_args == 1 && strcmp(argv[1], "last") != 0 && !read_number(argv[1], INT64_MAX, &q->id)) {
        (void)cli_usage_error(
            "%s: a request's number, or \"last\"; they are listed by: inline explain --list", argv[1]);
        return false;
    }
    return true;
}

int cli_explain(int argc, char **argv, const struct settings *s)
{
    struct question q = {.id = 0};
    const struct cli_option options[] = {
        {"list", CLI_FLAG, &q.is_list, 0, 0}, {"json", CLI_FLAG, &q.is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args) || !read_question(n_args, argv, &q)) return CLI_USAGE;
    struct errmsg msg = {0};
    struct json_value *answer = NULL;
    if (ask(s, &q, &answer, &msg)) return cli_fail(&msg);
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (q.is_json) {
        json_write_value(answer, &out);
        buf_add_char(&out, '\n');
    } else if (q.is_list) {
        add_table(answer, &out);
    } else {
        add_story(answer, &out);
    }
    json_read_free(&answer);
    return cli_print(&out);
}
