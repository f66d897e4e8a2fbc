/* See api_journal.h. Records stand in the journal in the order in which their requests ended; a page goes on
 * behind a record, not below an id, so that nothing is told twice or left out. */
#include "serve/api_journal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "serve/api_impl.h"
#include "watch/journal.h"

#define N_USUAL 50
#define N_MAX   1000

struct query {
    int64_t n;
    uint64_t before; /* 0: from the newest on */
    bool wants_one;
    uint64_t id; /* 0: the last one */
};

/* All of text as a number from 1 to max. */
static bool read_number(const char *text, size_t len, uint64_t max, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (text[i] < '0' || text[i] > '9' || *out > (max - digit) / 10) return false;
        *out = *out * 10 + digit;
    }
    return len > 0 && *out >= 1;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* One "key=value"; what is wrong with it, or null. */
static const char *read_part(const char *part, size_t len, struct query *q)
{
    const char *equals = memchr(part, '=', len);
    size_t key_len = equals ? (size_t)(equals - part) : len;
    const char *value = equals ? equals + 1 : part + len;
    size_t value_len = len - (size_t)(value - part);
    uint64_t n;
    if (is_word(part, key_len, "n")) {
        if (!read_number(value, value_len, N_MAX, &n)) return "n is a number from 1 to 1000";
        q->n = (int64_t)n;
    } else if (is_word(part, key_len, "before")) {
        if (!read_number(value, value_len, INT64_MAX, &q->before)) return "before is a request's id";
    } else if (is_word(part, key_len, "id")) {
        q->wants_one = true;
        if (!is_word(value, value_len, "last") && !read_number(value, value_len, INT64_MAX, &q->id))
            return "id is a request's id, or \"last\"";
    } else {
        return "the query is n=N and before=ID, or id=ID";
    }
    return NULL;
}

static const char *read_query(const char *query, struct query *out)
{
    *out = (struct query){.n = N_USUAL};
    while (*query) {
        size_t len = strcspn(query, "&");
        const char *fault = read_part(query, len, out);
        if (fault) return fault;
        query += len + (query[len] == '&');
    }
    return NULL;
}

/* ---- Lists ---- */

/* Where the page begins: 0, or behind `before`. If that one is not kept any more, nothing older is. */
static int32_t page_start(const struct journal *j, uint64_t before)
{
    int32_t n = journal_n(j);
    if (before == 0) return 0;
    for (int32_t i = 0; i < n; i++) {
        if (journal_at(j, i)->id == before) return i + 1;
    }
    return n;
}

static void answer_list(struct api *a, struct http_exchange *x, const struct query *q)
{
    struct buf out;
    struct json j;
    const struct journal *journal = a->o.journal;
    buf_init(&out, API_ANSWER_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_begin_array(&j, "requests");
    int32_t start = journal ? page_start(journal, q->before) : 0, n = journal ? journal_n(journal) : 0;
    for (int32_t i = start; i < n && i - start < q->n; i++) {
        const struct journal_record *r = journal_at(journal, i);
        json_begin_object(&j, NULL);
        journal_write(r, journal_model_name(journal, r->model), &j);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

/* ---- One ---- */

/* The newest that a person waited for; else the newest; 0: there is none. */
static uint64_t last_id(const struct journal *j)
{
    int32_t n = j ? journal_n(j) : 0;
    for (int32_t i = 0; i < n; i++) {
        const struct journal_record *r = journal_at(j, i);
        if (r->priority <= SERVICE_TYPING) return r->id;
    }
    return n > 0 ? journal_at(j, 0)->id : 0;
}

static void answer_one(struct api *a, struct http_exchange *x, uint64_t id)
{
    struct buf out;
    struct json j;
    struct journal_record r;
    char model[JOURNAL_NAME_MAX] = "";
    bool wants_last = id == 0;
    if (wants_last) id = last_id(a->o.journal);
    if (id == 0 || !service_journal_find(a->service, id, &r, model, sizeof model)) {
        if (wants_last)
            http_error(x, 404, "not_found_error", "there was no request yet since the daemon started");
        else
            http_error(x, 404, "not_found_error",
                       "request %" PRIu64 " is not kept: there was none, or it is too long ago", id);
        return;
    }
    buf_init(&out, API_ANSWER_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    journal_write_story(&r, model, &j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

void api_journal(struct api *a, struct http_exchange *x)
{
    struct query q;
    const char *fault = read_query(http_request_of(x)->query, &q);
    if (fault)
        http_error(x, 400, "invalid_request_error", "%s", fault);
    else if (q.wants_one)
        answer_one(a, x, q.id);
    else
        answer_list(a, x, &q);
}
