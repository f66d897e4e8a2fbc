/* Sixteen people typing at four servers, which become slow or die: what the rules of balance.h and server.h
 * do together. Simulated by discrete events, on a clock that is set, with numbers from a seeded generator;
 * the rules are used in the order in which the pool uses them (remote.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "remote/balance.h"

#define MS     ((int64_t)1000000)
#define SECOND (1000 * MS)

#define CLIENTS     16
#define SERVERS     4
#define CONNECTIONS 3
#define WARM_SLOTS  16 /* documents that a server has in its prefix cache */
#define NEVER       INT64_MAX
#define LATENCIES   200000

struct sim_server {
    double factor; /* on all its times */
    bool is_dead;
    uint64_t warm[WARM_SLOTS]; /* most recent first */
    int32_t most_at_once;
};

struct sim_attempt {
    bool is_there;
    int32_t server;
    int64_t start_ns;
    int64_t first_ns, end_ns; /* when they come */
    bool has_first;
    int64_t late_ns; /* when it is looked at, if there is no first token by then */
    bool was_late;   /* it was looked at before */
};

enum sim_doing { THINKING, WAITING, ASKING };

struct sim_client {
    enum sim_doing doing;
    int64_t wake_ns;  /* THINKING: the next request */
    int64_t born_ns;  /* of the request */
    int64_t leave_ns; /* the person types on: the request is cancelled; NEVER for most */
    uint32_t tried;
    bool has_first;
    struct sim_attempt attempts[2];
};

struct sim {
    int64_t now_ns, probe_ns;
    struct balance balance;
    struct server known[SERVERS];
    struct sim_server servers[SERVERS];
    struct sim_client clients[CLIENTS];
    int32_t home[CLIENTS]; /* the last server */
    uint64_t random;
    double think_ms;
    /* Of the phase under way: */
    double *latencies;
    int32_t n_latencies;
    int64_t n_requests, n_failed, n_cut, n_hedges, n_stayed, n_moved;
    int64_t asked[SERVERS];
};

static double draw(struct sim *s)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return ((double)(s->random >> 11) + 0.5) / (double)(1ull << 53);
}

static double draw_exponential(struct sim *s, double mean)
{
    return -mean * log(draw(s));
}

/* Log-normal, by the method of Box and Muller. */
static double draw_lognormal(struct sim *s, double median, double sigma)
{
    double radius = sqrt(-2 * log(draw(s)));
    return median * exp(sigma * radius * cos(2 * 3.14159265358979323846 * draw(s)));
}

static bool is_warm(struct sim_server *server, uint64_t document)
{
    int32_t at = 0;
    while (at < WARM_SLOTS - 1 && server->warm[at] != document) at++;
    bool was_warm = server->warm[at] == document;
    memmove(&server->warm[1], &server->warm[0], (size_t)at * sizeof server->warm[0]);
    server->warm[0] = document;
    return was_warm;
}

static void begin_attempt(struct sim *s, int32_t client, int32_t server)
{
    struct sim_client *c = &s->clients[client];
    struct sim_server *at = &s->servers[server];
    struct sim_attempt *a = &c->attempts[c->attempts[0].is_there];
    assert_false(a->is_there);
    assert_true(s->known[server].n_outstanding < CONNECTIONS);
    server_start(&s->known[server], s->now_ns);
    if (s->known[server].n_outstanding > at->most_at_once) at->most_at_once = s->known[server].n_outstanding;
    s->asked[server]++;
    double hedge_ms = balance_hedge_ms(&s->balance, s->known, SERVERS, server);
    double crowd = 1 + 0.1 * (s->known[server].n_outstanding - 1);
    double first_ms = draw_lognormal(s, is_warm(at, (uint64_t)client + 1) ? 60 : 150, 0.35) * crowd;
    double generate_ms = (4 + 20 * draw(s)) * 6 * crowd;
    *a = (struct sim_attempt){.is_there = true, .server = server, .start_ns = s->now_ns};
    a->first_ns = s->now_ns + (int64_t)(first_ms * at->factor * (double)MS);
    a->end_ns = a->first_ns + (int64_t)(generate_ms * at->factor * (double)MS);
    a->late_ns = hedge_ms > 0 ? s->now_ns + (int64_t)(hedge_ms * (double)MS) : NEVER;
    if (at->is_dead) a->first_ns = a->end_ns = s->now_ns + MS; /* refused */
    c->tried |= 1u << server;
    c->doing = ASKING;
}

static int32_t pick(struct sim *s, int32_t client)
{
    int32_t free_connections[SERVERS];
    for (int32_t i = 0; i < SERVERS; i++) free_connections[i] = CONNECTIONS - s->known[i].n_outstanding;
    struct balance_ask a = {.document = (uint64_t)client + 1,
                            .tried = s->clients[client].tried,
                            .free_connections = free_connections,
                            .now_ns = s->now_ns};
    return balance_pick(&s->balance, s->known, SERVERS, &a);
}

static void think(struct sim *s, struct sim_client *c)
{
    c->doing = THINKING;
    c->wake_ns = s->now_ns + (int64_t)(draw_exponential(s, s->think_ms) * (double)MS);
}

/* Gives the request a server, if there is one now. */
static void dispatch(struct sim *s, int32_t client)
{
    struct sim_client *c = &s->clients[client];
    bool is_first = c->tried == 0;
    int32_t server = pick(s, client);
    if (server == BALANCE_NONE) {
        s->n_failed++;
        think(s, c);
        return;
    }
    c->doing = WAITING;
    if (server == BALANCE_WAIT) return;
    if (is_first && s->home[client] >= 0) {
        s->n_stayed += s->home[client] == server;
        s->n_moved += s->home[client] != server;
    }
    if (is_first) s->home[client] = server;
    begin_attempt(s, client, server);
}

static void dispatch_waiting(struct sim *s)
{
    for (;;) { /* oldest first */
        int32_t oldest = -1;
        for (int32_t i = 0; i < CLIENTS; i++) {
            if (s->clients[i].doing != WAITING) continue;
            if (oldest < 0 || s->clients[i].born_ns < s->clients[oldest].born_ns) oldest = i;
        }
        if (oldest < 0) return;
        dispatch(s, oldest);
        if (s->clients[oldest].doing == WAITING) return;
    }
}

static void end_attempt(struct sim *s, struct sim_attempt *a, enum server_end end)
{
    struct server *known = &s->known[a->server];
    bool is_telling = end == SERVER_END_LEFT || end == SERVER_END_FAILED;
    if (!a->has_first && is_telling)
        server_still_waiting(known, (double)(s->now_ns - a->start_ns) / (double)MS);
    server_finish(known, end, 0, s->now_ns);
    a->is_there = false;
}

static void end_all(struct sim *s, struct sim_client *c, enum server_end end)
{
    for (int32_t i = 0; i < 2; i++)
        if (c->attempts[i].is_there) end_attempt(s, &c->attempts[i], end);
}

static void new_request(struct sim *s, int32_t client)
{
    struct sim_client *c = &s->clients[client];
    c->born_ns = s->now_ns;
    c->leave_ns = draw(s) < 0.25 ? s->now_ns + (int64_t)(draw_exponential(s, 120) * (double)MS) : NEVER;
    c->tried = 0;
    c->has_first = false;
    s->n_requests++;
    balance_count(&s->balance);
    dispatch(s, client);
}

/* One of two attempts has its first token: the other is not wanted any more. */
static void first_token(struct sim *s, struct sim_client *c, struct sim_attempt *a)
{
    a->has_first = c->has_first = true;
    server_first_token(&s->known[a->server], (double)(s->now_ns - a->start_ns) / (double)MS);
    struct sim_attempt *other = &c->attempts[a == &c->attempts[0]];
    if (other->is_there) end_attempt(s, other, SERVER_END_LEFT);
    if (c->leave_ns != NEVER) return; /* what people leave early would make the rest look slow */
    assert_in_range(s->n_latencies, 0, LATENCIES - 1);
    s->latencies[s->n_latencies++] = (double)(s->now_ns - c->born_ns) / (double)MS;
}

static void fail_attempt(struct sim *s, int32_t client, struct sim_attempt *a, enum server_end end)
{
    struct sim_client *c = &s->clients[client];
    bool was_cut = a->has_first;
    end_attempt(s, a, end);
    if (was_cut) { /* what has come was shown */
        s->n_cut++;
        think(s, c);
    } else if (!c->attempts[0].is_there && !c->attempts[1].is_there) {
        dispatch(s, client);
    }
}

/* No first token when there should have been one. */
static void look_at_late(struct sim *s, int32_t client, struct sim_attempt *a)
{
    struct sim_client *c = &s->clients[client];
    int64_t waited_ns = s->now_ns - a->start_ns;
    server_still_waiting(&s->known[a->server], (double)waited_ns / (double)MS);
    bool is_alone = c->attempts[0].is_there != c->attempts[1].is_there;
    bool is_very_late = a->was_late;
    a->was_late = true;
    a->late_ns = s->now_ns + waited_ns;
    if (!is_alone) return;
    int32_t server = pick(s, client);
    if (server < 0 || !balance_take_hedge(&s->balance, is_very_late)) return;
    s->n_hedges++;
    begin_attempt(s, client, server);
}

static int64_t attempt_due(const struct sim_attempt *a)
{
    if (!a->is_there) return NEVER;
    if (a->has_first) return a->end_ns;
    return a->late_ns < a->first_ns ? a->late_ns : a->first_ns;
}

static void run_attempt(struct sim *s, int32_t client, struct sim_attempt *a)
{
    struct sim_client *c = &s->clients[client];
    if (s->servers[a->server].is_dead) {
        fail_attempt(s, client, a, SERVER_END_REFUSED);
    } else if (!a->has_first && a->late_ns < a->first_ns) {
        look_at_late(s, client, a);
    } else if (!a->has_first) {
        first_token(s, c, a);
    } else {
        end_attempt(s, a, SERVER_END_OK);
        think(s, c);
    }
}

static int64_t client_due(const struct sim_client *c)
{
    if (c->doing == THINKING) return c->wake_ns;
    int64_t due = c->leave_ns;
    for (int32_t i = 0; i < 2; i++)
        if (attempt_due(&c->attempts[i]) < due) due = attempt_due(&c->attempts[i]);
    return due;
}

static void run_client(struct sim *s, int32_t client)
{
    struct sim_client *c = &s->clients[client];
    if (c->doing == THINKING) {
        new_request(s, client);
        return;
    }
    for (int32_t i = 0; i < 2; i++) {
        if (attempt_due(&c->attempts[i]) > s->now_ns) continue;
        run_attempt(s, client, &c->attempts[i]);
        return;
    }
    end_all(s, c, SERVER_END_LEFT);
    think(s, c);
}

static void probe_servers(struct sim *s)
{
    for (int32_t i = 0; i < SERVERS; i++)
        if (s->known[i].health == SERVER_DOWN) server_probed(&s->known[i], !s->servers[i].is_dead, s->now_ns);
    s->probe_ns += 2 * SECOND;
}

static void run_until(struct sim *s, int64_t until_ns)
{
    for (;;) {
        int32_t next = 0;
        int64_t due = s->probe_ns;
        for (int32_t i = 0; i < CLIENTS; i++)
            if (client_due(&s->clients[i]) < client_due(&s->clients[next])) next = i;
        if (client_due(&s->clients[next]) < due) due = client_due(&s->clients[next]);
        if (due > until_ns) break;
        s->now_ns = due;
        if (due == s->probe_ns)
            probe_servers(s);
        else
            run_client(s, next);
        dispatch_waiting(s);
    }
    s->now_ns = until_ns;
}

static void run_for(struct sim *s, double seconds)
{
    run_until(s, s->now_ns + (int64_t)(seconds * (double)SECOND));
}

static void kill_server(struct sim *s, int32_t server)
{
    s->servers[server].is_dead = true;
    memset(s->servers[server].warm, 0, sizeof s->servers[server].warm);
    for (int32_t i = 0; i < CLIENTS; i++)
        for (int32_t j = 0; j < 2; j++) {
            struct sim_attempt *a = &s->clients[i].attempts[j];
            if (a->is_there && a->server == server) fail_attempt(s, i, a, SERVER_END_FAILED);
        }
    dispatch_waiting(s);
}

static void begin_phase(struct sim *s)
{
    s->n_latencies = 0;
    s->n_requests = s->n_failed = s->n_cut = s->n_hedges = s->n_stayed = s->n_moved = 0;
    memset(s->asked, 0, sizeof s->asked);
}

static struct sim *sim_new(uint64_t seed)
{
    struct sim *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->latencies = calloc(LATENCIES, sizeof *s->latencies);
    assert_non_null(s->latencies);
    s->random = seed * 7919;
    s->now_ns = 1000 * SECOND;
    s->probe_ns = s->now_ns;
    s->think_ms = 800;
    balance_init(&s->balance);
    for (int32_t i = 0; i < SERVERS; i++) {
        server_init(&s->known[i], seed + (uint64_t)i);
        s->servers[i].factor = 1;
    }
    for (int32_t i = 0; i < CLIENTS; i++) {
        s->home[i] = -1;
        think(s, &s->clients[i]);
    }
    return s;
}

static void sim_free(struct sim *s)
{
    for (int32_t i = 0; i < SERVERS; i++) assert_in_range(s->servers[i].most_at_once, 1, CONNECTIONS);
    free(s->latencies);
    free(s);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double latency_ms(struct sim *s, double p)
{
    assert_true(s->n_latencies > 20);
    qsort(s->latencies, (size_t)s->n_latencies, sizeof *s->latencies, compare);
    return s->latencies[(int32_t)(p * (s->n_latencies - 1))];
}

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static double share_of_server(const struct sim *s, int32_t server)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < SERVERS; i++) sum += s->asked[i];
    return share(s->asked[server], sum);
}

/* Each of the following begins with some minutes in which all is well; what is measured then is what the
 * rest is held against. */
static struct sim *sim_settled(uint64_t seed, double *p95_ms)
{
    struct sim *s = sim_new(seed);
    run_for(s, 30);
    begin_phase(s);
    run_for(s, 300);
    *p95_ms = latency_ms(s, 0.95);
    return s;
}

#define SEEDS 5

static void test_all_healthy(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double p95_ms;
        struct sim *s = sim_settled(seed, &p95_ms);
        assert_int_equal(s->n_failed + s->n_cut, 0);
        assert_true(share(s->n_stayed, s->n_stayed + s->n_moved) >= 0.9);
        assert_true(share(s->n_hedges, s->n_requests) <= 0.055); /* what was saved up before counts here */
        for (int32_t i = 0; i < SERVERS; i++) assert_true(fabs(share_of_server(s, i) - 0.25) < 0.05);
        sim_free(s);
    }
}

static void test_one_becomes_slow(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double healthy_ms;
        struct sim *s = sim_settled(seed, &healthy_ms);
        int32_t slow = (int32_t)(seed % SERVERS);
        begin_phase(s);
        s->servers[slow].factor = 10;
        run_for(s, 2);
        assert_true(share_of_server(s, slow) < 0.25); /* it is found out by then */
        begin_phase(s);
        run_for(s, 58);
        assert_int_equal(s->n_failed + s->n_cut, 0);
        assert_true(share_of_server(s, slow) < 0.03);
        assert_true(share(s->n_hedges, s->n_requests) <= 0.055);
        assert_true(latency_ms(s, 0.95) <= 1.3 * healthy_ms);
        s->servers[slow].factor = 1;
        run_for(s, 10);
        begin_phase(s);
        run_for(s, 20);
        assert_true(share_of_server(s, slow) > 0.15);
        assert_true(latency_ms(s, 0.95) <= 1.3 * healthy_ms);
        sim_free(s);
    }
}

static void test_one_is_killed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double healthy_ms;
        struct sim *s = sim_settled(seed, &healthy_ms);
        int32_t dead = (int32_t)(seed % SERVERS);
        begin_phase(s);
        kill_server(s, dead);
        run_for(s, 60);
        assert_int_equal(s->n_failed, 0);
        assert_true(s->n_cut <= CONNECTIONS); /* what was being answered as it fell */
        assert_true(share_of_server(s, dead) < 0.03);
        assert_true(latency_ms(s, 0.95) <= 1.3 * healthy_ms);
        s->servers[dead].is_dead = false;
        run_for(s, 8);
        begin_phase(s);
        run_for(s, 20);
        assert_true(share_of_server(s, dead) > 0.15);
        assert_int_equal(s->n_failed + s->n_cut, 0);
        sim_free(s);
    }
}

/* Each server in turn slow while its neighbour is dead: half of them are left to do the work. */
static void test_slow_and_killed_in_turn(void **state)
{
    (void)state;
    double ratios = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double healthy_ms;
        struct sim *s = sim_settled(seed, &healthy_ms);
        begin_phase(s);
        for (int32_t round = 0; round < 2 * SERVERS; round++) {
            int32_t slow = round % SERVERS, dead = (round + 1) % SERVERS;
            s->servers[slow].factor = 10;
            kill_server(s, dead);
            run_for(s, 22);
            s->servers[slow].factor = 1;
            s->servers[dead].is_dead = false;
            run_for(s, 8);
        }
        assert_int_equal(s->n_failed, 0);
        assert_true(s->n_cut <= 2 * SERVERS * CONNECTIONS);
        assert_true(share(s->n_hedges, s->n_requests) <= 0.055);
        ratios += latency_ms(s, 0.95) / healthy_ms;
        sim_free(s);
    }
    assert_true(ratios / SEEDS <= 1.3);
}

/* A server that takes requests and never answers: those that it has are saved by hedges, although there is no
 * time limit here. */
static void test_one_hangs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double healthy_ms;
        struct sim *s = sim_settled(seed, &healthy_ms);
        int32_t hung = (int32_t)(seed % SERVERS);
        begin_phase(s);
        s->servers[hung].factor = 1e6;
        run_for(s, 60);
        for (int32_t i = 0; i < CLIENTS; i++)
            assert_true(s->clients[i].doing == THINKING || s->now_ns - s->clients[i].born_ns < 5 * SECOND);
        assert_true(latency_ms(s, 1) < 5000);
        assert_true(latency_ms(s, 0.95) <= 1.3 * healthy_ms);
        assert_true(share_of_server(s, hung) < 0.05);
        sim_free(s);
    }
}

/* Nothing can be done but to say so at once; it is over soon after the servers are back. */
static void test_all_are_killed(void **state)
{
    (void)state;
    double healthy_ms;
    struct sim *s = sim_settled(1, &healthy_ms);
    for (int32_t i = 0; i < SERVERS; i++) kill_server(s, i);
    begin_phase(s);
    run_for(s, 120);
    assert_true(share(s->n_failed, s->n_requests) > 0.9);
    for (int32_t i = 0; i < SERVERS; i++) s->servers[i].is_dead = false;
    run_for(s, 5);
    begin_phase(s);
    run_for(s, 60);
    assert_int_equal(s->n_failed, 0);
    assert_true(latency_ms(s, 0.95) <= 1.3 * healthy_ms);
    sim_free(s);
}

/* All servers are slow at once, as when a model is too large for them: nobody is avoided for it, and hedges
 * do not make it worse. */
static void test_all_become_slow(void **state)
{
    (void)state;
    double healthy_ms;
    struct sim *s = sim_settled(1, &healthy_ms);
    for (int32_t i = 0; i < SERVERS; i++) s->servers[i].factor = 4;
    begin_phase(s);
    run_for(s, 120);
    assert_int_equal(s->n_failed, 0);
    assert_true(latency_ms(s, 0.95) <= 1.5 * 4 * healthy_ms);
    assert_true(share(s->n_hedges, s->n_requests) <= 0.06);
    for (int32_t i = 0; i < SERVERS; i++) assert_true(fabs(share_of_server(s, i) - 0.25) < 0.08);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_healthy),     cmocka_unit_test(test_one_becomes_slow),
        cmocka_unit_test(test_one_is_killed),   cmocka_unit_test(test_slow_and_killed_in_turn),
        cmocka_unit_test(test_one_hangs),       cmocka_unit_test(test_all_are_killed),
        cmocka_unit_test(test_all_become_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
