/* Choosing a server; see balance.h.
 *
 * A server whose connections are all taken is weighed as well: if it is the one that is expected to answer
 * soonest, waiting for it is better than asking a slow one that is free. Among servers that are about equal,
 * the one that the fewest documents in use go to is taken, and a document leaves its server for one that has
 * clearly fewer of them: so documents spread by themselves, also over a server that has come back.
 *
 * A server that is avoided tells nothing of itself any more. So one request in PROBE_EVERY goes to such a one
 * (which is hedged like any other), and a server whose time of rest is over gets its trial at once. */
#include "remote/balance.h"

#include <string.h>

#define NS_PER_S 1000000000

#define PROBE_EVERY 64  /* requests: 1.6 %, which a p95 does not feel */
#define SLOW        2.5 /* times what the fastest takes: such a server keeps no document and is avoided */

/* Expected waits within this are equal: first tokens vary more than that from one request to the next. */
#define ABOUT_EQUAL 1.5
/* A document stays where it is unless another server is sooner by more than what its prefix cache saves. */
#define CLEARLY 4.0
#define SPREAD  2                 /* documents more than elsewhere that a server may keep */
#define IN_USE  (60ll * NS_PER_S) /* since a document was last asked about */

#define HEDGES_PER_REQUEST 0.05
#define HEDGES_MAX         10.0 /* saved up: for all connections of a server or two that become slow at once */
#define HEDGES_KEPT        1.0  /* of them, for the very late: the usual stragglers would take them all */
#define LATE               0.95
#define HEDGE_MIN_MS       10.0 /* sooner than that, a hedge saves nothing that a person could see */

void balance_init(struct balance *b)
{
    memset(b, 0, sizeof *b);
}

static bool was_tried(const struct balance_ask *a, int32_t server)
{
    return a->tried >> server & 1;
}

static bool is_candidate(const struct server *servers, int32_t i, const struct balance_ask *a)
{
    return !was_tried(a, i) && server_is_open(&servers[i], a->now_ns);
}

/* The shortest expected time to a first token among those that can be asked; 0: nothing is known. */
static double fastest_ms(const struct server *servers, int32_t n, const struct balance_ask *a)
{
    double fastest = 0;
    for (int32_t i = 0; i < n; i++) {
        double ms = servers[i].recent_ms;
        if (is_candidate(servers, i, a) && ms > 0 && (fastest <= 0 || ms < fastest)) fastest = ms;
    }
    return fastest;
}

/* Of a server of which nothing is known, the best is expected. */
static double expected_wait(const struct server *s, double fastest)
{
    double ms = s->recent_ms > 0 ? s->recent_ms : fastest;
    if (ms <= 0) ms = 1;
    return (s->n_outstanding + 1) * ms;
}

/* A server that the rest of the rules would not come to: it is due for its trial, or it is avoided and this
 * request is the one in PROBE_EVERY. -1: none. */
static int32_t pick_to_learn(const struct balance *b, const struct server *servers, int32_t n,
                             const struct balance_ask *a)
{
    double fastest = fastest_ms(servers, n, a);
    bool is_probe = b->n_asked % PROBE_EVERY == PROBE_EVERY - 1;
    int32_t found = -1;
    for (int32_t i = 0; i < n; i++) {
        const struct server *s = &servers[i];
        if (!is_candidate(servers, i, a) || a->free_connections[i] <= 0) continue;
        bool is_avoided = s->health == SERVER_NEW || s->recent_ms > SLOW * fastest;
        if (s->health != SERVER_DOWN && !(is_probe && is_avoided)) continue;
        if (found < 0 || s->last_ns < servers[found].last_ns) found = i;
    }
    return found;
}

/* How many documents in use each server has. */
static void count_documents(const struct balance *b, int64_t now_ns, int32_t n, int32_t *counts)
{
    for (int32_t i = 0; i < n; i++) counts[i] = 0;
    for (int32_t i = 0; i < BALANCE_DOCUMENTS; i++) {
        if (b->documents[i].document == 0 || now_ns - b->documents[i].last_ns > IN_USE) continue;
        if (b->documents[i].server < n) counts[b->documents[i].server]++;
    }
}

/* The document's place, or the one that is best given to it: free, or used least recently. */
static int32_t document_place(const struct balance *b, uint64_t document)
{
    int32_t oldest = 0;
    for (int32_t i = 0; i < BALANCE_DOCUMENTS; i++) {
        if (b->documents[i].document == document) return i;
        if (b->documents[i].last_ns < b->documents[oldest].last_ns) oldest = i;
    }
    return oldest;
}

static int32_t document_server(const struct balance *b, uint64_t document, int32_t n)
{
    if (document == 0) return -1;
    int32_t i = document_place(b, document);
    return b->documents[i].document == document && b->documents[i].server < n ? b->documents[i].server : -1;
}

static void remember(struct balance *b, const struct balance_ask *a, int32_t server)
{
    if (a->document == 0) return;
    int32_t i = document_place(b, a->document);
    b->documents[i].document = a->document;
    b->documents[i].server = server;
    b->documents[i].last_ns = a->now_ns;
}

/* The soonest expected wait of all that could be asked, free or not; -1: there is none. */
static double soonest_wait(const struct server *servers, int32_t n, const struct balance_ask *a,
                           double fastest)
{
    double soonest = -1;
    for (int32_t i = 0; i < n; i++) {
        if (!is_candidate(servers, i, a)) continue;
        double wait = expected_wait(&servers[i], fastest);
        if (soonest < 0 || wait < soonest) soonest = wait;
    }
    return soonest;
}

/* One of which the first request is still to tell what it is. */
static bool is_one_new(const struct server *servers, int32_t n, const struct balance_ask *a)
{
    for (int32_t i = 0; i < n; i++)
        if (servers[i].health == SERVER_NEW && servers[i].limited_ns <= a->now_ns && !was_tried(a, i))
            return true;
    return false;
}

/* Among the free ones that are about as soon as the soonest, the one with the fewest documents, then the one
 * that was asked longest ago. */
static int32_t pick_soonest(const struct server *servers, int32_t n, const struct balance_ask *a,
                            const int32_t *n_documents)
{
    double fastest = fastest_ms(servers, n, a);
    double soonest = soonest_wait(servers, n, a, fastest);
    if (soonest < 0) return is_one_new(servers, n, a) ? BALANCE_WAIT : BALANCE_NONE;
    int32_t best = BALANCE_WAIT;
    for (int32_t i = 0; i < n; i++) {
        if (!is_candidate(servers, i, a) || a->free_connections[i] <= 0) continue;
        if (expected_wait(&servers[i], fastest) > ABOUT_EQUAL * soonest) continue;
        bool is_better = best < 0 || n_documents[i] < n_documents[best] ||
                         (n_documents[i] == n_documents[best] && servers[i].last_ns < servers[best].last_ns);
        if (is_better) best = i;
    }
    return best;
}

/* Whether the document stays with its server although `best` is there. */
static bool stays(const struct server *servers, int32_t n, const struct balance_ask *a, int32_t home,
                  int32_t best, const int32_t *n_documents)
{
    if (home < 0 || !is_candidate(servers, home, a) || a->free_connections[home] <= 0) return false;
    double fastest = fastest_ms(servers, n, a);
    double wait = expected_wait(&servers[home], fastest);
    bool is_slow = servers[home].recent_ms > SLOW * fastest;
    if (is_slow || wait > CLEARLY * soonest_wait(servers, n, a, fastest)) return false;
    return best < 0 || n_documents[home] <= n_documents[best] + SPREAD;
}

int32_t balance_pick(struct balance *b, const struct server *servers, int32_t n, const struct balance_ask *a)
{
    bool is_first = a->tried == 0;
    int32_t learn = is_first ? pick_to_learn(b, servers, n, a) : -1;
    if (learn >= 0) return learn;

    int32_t n_documents[BALANCE_SERVERS_MAX];
    count_documents(b, a->now_ns, n, n_documents);
    int32_t best = pick_soonest(servers, n, a, n_documents);
    int32_t home = document_server(b, a->document, n);
    int32_t picked = stays(servers, n, a, home, best, n_documents) ? home : best;
    /* A second attempt for the same request says nothing of where the document is at home. */
    if (picked >= 0 && is_first) remember(b, a, picked);
    return picked;
}

void balance_count(struct balance *b)
{
    b->n_asked++;
    b->hedges += HEDGES_PER_REQUEST;
    if (b->hedges > HEDGES_MAX) b->hedges = HEDGES_MAX;
}

/* The p95 that half of the servers keep to: one that has become slow does not make the others' requests late
 * by its own measure. */
double balance_hedge_ms(const struct balance *b, const struct server *servers, int32_t n, int32_t asked)
{
    (void)b;
    double p95[BALANCE_SERVERS_MAX];
    int32_t n_known = 0, n_others = 0;
    for (int32_t i = 0; i < n; i++) {
        if (servers[i].health == SERVER_DOWN) continue;
        n_others += i != asked;
        double ms = server_quantile_ms(&servers[i], LATE);
        if (ms <= 0) continue;
        int32_t at = n_known++;
        for (; at > 0 && p95[at - 1] > ms; at--) p95[at] = p95[at - 1];
        p95[at] = ms;
    }
    if (n_known == 0 || n_others == 0) return 0;
    double middle = p95[(n_known - 1) / 2];
    return middle > HEDGE_MIN_MS ? middle : HEDGE_MIN_MS;
}

bool balance_take_hedge(struct balance *b, bool is_very_late)
{
    if (b->hedges < (is_very_late ? 1 : 1 + HEDGES_KEPT)) return false;
    b->hedges -= 1;
    b->n_hedged++;
    return true;
}
