/* What a team's server keeps, and when it is left alone.
 *
 * A line has one hash there, inline:1:<its 128 bits>, with TEAM_VALUES_MAX slots; a record's slot is the
 * length of what was typed, modulo that many. So all that may suit a key comes with a single HMGET of the
 * whole hash, whose answer is bounded: HGETALL of fields named after what was typed would not be, asking
 * for each beginning of a line takes a field for each character, and scanning takes many commands. Of one
 * typist's line the last 32 lengths have slots of their own; what another one typed in the same place at
 * the same length replaces a record, which is a miss at worst: records name their key, and are checked. */
#include "store/team_cache.h"

#ifdef INLINE_HIREDIS

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "store/team_address.h"
#include "store/team_link.h"

#define N_SLOTS         TEAM_VALUES_MAX
#define KEY_LEN         (sizeof "inline:1:" - 1 + 32)
#define FAILURES_MAX    3 /* in a row; then the circuit opens */
#define NS_PER_MS       1000000
#define PAUSE_FIRST_NS  ((int64_t)1000 * NS_PER_MS)
#define PAUSE_MAX_NS    ((int64_t)60000 * NS_PER_MS)
#define SECONDS_PER_DAY 86400

_Static_assert(N_SLOTS *TEAM_RECORD_MAX < TEAM_EXCHANGE_MAX, "whole lines can be read");

struct team_cache {
    struct team_address address;
    struct team_link link;

    int32_t n_failures; /* in a row */
    int64_t pause_ns;   /* how long the circuit is open this time; 0: it is closed */
    int64_t open_until; /* clock_ns; then one trial is made */

    /* For any thread; single numbers, so that nothing depends on their order. */
    _Atomic int64_t n_found, n_put, n_failed;
    atomic_bool is_open;
};

static void count(_Atomic int64_t *counter, int64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

enum err team_cache_open(const char *url, struct team_cache **out, struct errmsg *msg)
{
    *out = NULL;
    struct team_address address;
    enum err err = team_address_parse(url, &address, msg);
    if (err) return err;
    struct team_cache *t = MEM_NEW(struct team_cache);
    t->address = address;
    team_link_init(&t->link);
    *out = t;
    return OK;
}

void team_cache_close(struct team_cache **t)
{
    if (!*t) return;
    team_link_clear(&(*t)->link);
    team_address_clear(&(*t)->address);
    mem_free(*t);
    *t = NULL;
}

/* ---- The circuit ---- */

static bool circuit_lets_pass(const struct team_cache *t)
{
    return t->pause_ns == 0 || clock_ns() >= t->open_until;
}

static void circuit_fail(struct team_cache *t, const char *why)
{
    count(&t->n_failed, 1);
    bool is_trial = t->pause_ns > 0;
    if (!is_trial && ++t->n_failures < FAILURES_MAX) return;
    if (is_trial) {
        t->pause_ns = 2 * t->pause_ns < PAUSE_MAX_NS ? 2 * t->pause_ns : PAUSE_MAX_NS;
    } else {
        log_line(LOG_WARN, "team cache %s: %s; going on without it", t->address.name, why);
        t->pause_ns = PAUSE_FIRST_NS;
    }
    t->open_until = clock_ns() + t->pause_ns;
    atomic_store_explicit(&t->is_open, true, memory_order_relaxed);
}

static void circuit_succeed(struct team_cache *t)
{
    if (t->pause_ns > 0) log_line(LOG_INFO, "team cache %s: answers again", t->address.name);
    t->pause_ns = 0;
    t->n_failures = 0;
    atomic_store_explicit(&t->is_open, false, memory_order_relaxed);
}

/* ---- Exchanges ---- */

static int64_t deadline_ns(void)
{
    return clock_ns() + (int64_t)TEAM_TIMEOUT_MS * NS_PER_MS;
}

/* Connect if there is no connection; false: not now. */
static bool is_ready(struct team_cache *t, int64_t deadline)
{
    struct errmsg why = {0};
    if (!circuit_lets_pass(t)) return false;
    enum err err = team_address_resolve(&t->address, &why);
    if (err == ERR_LIMIT) return false;
    if (!err) err = team_link_connect(&t->link, &t->address, deadline, &why);
    if (!err) return true;
    team_address_forget(&t->address);
    circuit_fail(t, why.text);
    return false;
}

static bool exchange(struct team_cache *t, int32_t n_replies, int64_t deadline)
{
    struct errmsg why = {0};
    enum err err = team_link_exchange(&t->link, n_replies, deadline, &why);
    if (err) {
        circuit_fail(t, why.text);
    } else {
        circuit_succeed(t);
    }
    return !err;
}

/* Strings of one command. */
struct command {
    const char *args[2 + N_SLOTS];
    size_t lens[2 + N_SLOTS];
    int32_t n;
};

static void command_add(struct command *c, const char *arg, size_t len)
{
    c->args[c->n] = arg;
    c->lens[c->n++] = len;
}

static void key_name(const uint64_t line[2], char out[KEY_LEN + 1])
{
    snprintf(out, KEY_LEN + 1, "inline:1:%016" PRIx64 "%016" PRIx64, line[0], line[1]);
}

/* ---- Finding ---- */

struct match {
    const char *bytes;
    size_t len, n_typed;
};

/* Add m to the DISK_FOUND_MAX nearest, which are in order. */
static void match_insert(struct match *matches, int32_t *n, struct match m)
{
    int32_t at = *n;
    while (at > 0 && matches[at - 1].n_typed > m.n_typed) at--;
    if (at == DISK_FOUND_MAX) return;
    if (*n < DISK_FOUND_MAX) (*n)++;
    memmove(&matches[at + 1], &matches[at], (size_t)(*n - 1 - at) * sizeof *matches);
    matches[at] = m;
}

static int32_t choose(const struct team_reply *reply, const struct store_key *key, struct match *matches)
{
    int32_t n = 0;
    for (int32_t i = 0; i < reply->n_values; i++) {
        size_t from = i > 0 ? reply->ends[i - 1] : 0;
        struct match m = {.bytes = reply->bytes.data + from, .len = reply->ends[i] - from};
        struct record record;
        if (m.len == 0 || record_read(m.bytes, m.len, &record) != OK) continue;
        if (!record_suits(&record, key, &m.n_typed)) continue;
        match_insert(matches, &n, m);
    }
    return n;
}

static bool ask_line(struct team_cache *t, const struct store_key *key)
{
    char name[KEY_LEN + 1], slots[N_SLOTS][4];
    struct command c = {0};
    key_name(key->line, name);
    command_add(&c, "HMGET", 5);
    command_add(&c, name, KEY_LEN);
    for (int32_t i = 0; i < N_SLOTS; i++) {
        command_add(&c, slots[i], (size_t)snprintf(slots[i], sizeof slots[i], "%d", (int)i));
    }
    int64_t deadline = deadline_ns();
    return is_ready(t, deadline) && team_link_add(&t->link, c.n, c.args, c.lens) == OK &&
           exchange(t, 1, deadline);
}

void team_cache_find(struct team_cache *t, const struct store_key *key, struct disk_found *out)
{
    buf_reset(&out->bytes);
    out->n = 0;
    if (!ask_line(t, key)) return;
    struct match matches[DISK_FOUND_MAX];
    int32_t n = choose(&t->link.reply, key, matches);
    for (int32_t i = 0; i < n; i++) {
        buf_add(&out->bytes, matches[i].bytes, matches[i].len);
        if (out->bytes.err) break; /* those before it are whole */
        out->ends[out->n++] = out->bytes.len;
    }
    count(&t->n_found, out->n > 0);
}

/* ---- Putting ---- */

/* Queue the commands for one record. Returns their number; 0: it stays here. */
static int32_t add_put(struct team_cache *t, const struct disk_put *put)
{
    struct record record;
    char name[KEY_LEN + 1], slot[16], seconds[16];
    if (put->len > TEAM_RECORD_MAX || record_read(put->bytes, put->len, &record) != OK) return 0;
    if (record.is_private) return 0;
    key_name(record.line, name);

    struct command set = {0}, expire = {0};
    command_add(&set, "HSET", 4);
    command_add(&set, name, KEY_LEN);
    command_add(&set, slot, (size_t)snprintf(slot, sizeof slot, "%zu", record.typed_len % N_SLOTS));
    command_add(&set, put->bytes, put->len);
    command_add(&expire, "EXPIRE", 6);
    command_add(&expire, name, KEY_LEN);
    command_add(&expire, seconds,
                (size_t)snprintf(seconds, sizeof seconds, "%d", TEAM_KEEP_DAYS * SECONDS_PER_DAY));
    enum err err = team_link_add(&t->link, set.n, set.args, set.lens);
    if (!err) err = team_link_add(&t->link, expire.n, expire.args, expire.lens);
    return err ? 0 : 2;
}

static bool put_batch(struct team_cache *t, const struct disk_put *puts, int32_t n)
{
    int64_t deadline = deadline_ns();
    if (!is_ready(t, deadline)) return false;
    int32_t n_commands = 0;
    for (int32_t i = 0; i < n; i++) n_commands += add_put(t, &puts[i]);
    if (n_commands == 0) return true;
    if (!exchange(t, n_commands, deadline)) return false;
    count(&t->n_put, n_commands / 2);
    return true;
}

void team_cache_put(struct team_cache *t, const struct disk_put *puts, int32_t n)
{
    for (int32_t i = 0; i < n; i += TEAM_BATCH_MAX) {
        if (!put_batch(t, puts + i, n - i < TEAM_BATCH_MAX ? n - i : TEAM_BATCH_MAX)) return;
    }
}

/* ---- Looking at it ---- */

void team_cache_stats(const struct team_cache *t, struct team_stats *out)
{
    out->n_found = atomic_load_explicit(&t->n_found, memory_order_relaxed);
    out->n_put = atomic_load_explicit(&t->n_put, memory_order_relaxed);
    out->n_failed = atomic_load_explicit(&t->n_failed, memory_order_relaxed);
    out->is_open = atomic_load_explicit(&t->is_open, memory_order_relaxed);
}

#else

enum err team_cache_open(const char *url, struct team_cache **out, struct errmsg *msg)
{
    (void)url;
    *out = NULL;
    return err_set(msg, ERR_UNSUPPORTED, "this build has no cache that a team shares (no hiredis)");
}

void team_cache_close(struct team_cache **t)
{
    *t = NULL;
}

void team_cache_find(struct team_cache *t, const struct store_key *key, struct disk_found *out)
{
    (void)t, (void)key;
    buf_reset(&out->bytes);
    out->n = 0;
}

void team_cache_put(struct team_cache *t, const struct disk_put *puts, int32_t n)
{
    (void)t, (void)puts, (void)n;
}

void team_cache_stats(const struct team_cache *t, struct team_stats *out)
{
    (void)t;
    *out = (struct team_stats){0};
}

#endif
