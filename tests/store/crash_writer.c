/* Works on a disk cache until it is killed, or checks what a killed one left. Driven by test_crash.py.
 *
 *   crash_writer write PATH BYTES SEED    puts, touches, collects and clears, while another thread finds
 *   crash_writer check PATH BYTES         verifies, opens, uses, verifies; says on stdout how long opening
 * took
 *
 * Every record says in its text which key it belongs to, so that the finding thread can tell a wrong answer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/thread.h"
#include "store/disk_cache.h"

#define N_LINES   5000
#define N_FILES   50
#define BATCH_MAX 40
#define LONG_TEXT ((size_t)30000)

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 (Steele et al. 2014) */
    uint64_t z = (*state ^ *state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void check(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "crash_writer: %s\n", what);
    exit(1);
}

/* What is asked: a line and how much of it is typed. */
struct place {
    struct store_key key;
    char typed[32], start[64];
};

static void place_init(struct place *p, uint64_t line, int n_typed)
{
    snprintf(p->typed, sizeof p->typed, "%.*s", n_typed, "    int value = ");
    snprintf(p->start, sizeof p->start, "line %" PRIu64 " after %d: ", line, n_typed);
    p->key = (struct store_key){{line, ~line}, p->typed, strlen(p->typed)};
}

/* ---- Writing ---- */

static void random_place(struct place *p, uint64_t *state)
{
    uint64_t r = next_random(state);
    place_init(p, r % N_LINES, (int)(r >> 32 & 15));
}

/* One in fifty is long: its row overflows into pages of its own. */
static void random_record(uint64_t *state, struct buf *out)
{
    static char text[LONG_TEXT];
    struct place p;
    random_place(&p, state);
    uint64_t r = next_random(state);
    size_t start = strlen(p.start), len = start + (r % 50 == 0 ? r % (LONG_TEXT - 64) : r % 200);
    memset(text, 'a' + (int)(r % 26), len);
    memcpy(text, p.start, start);
    struct record rec = {.maker = r >> 8 & 3,
                         .line = {p.key.line[0], p.key.line[1]},
                         .typed = p.typed,
                         .typed_len = p.key.typed_len,
                         .candidates = {{text, len, RECORD_LIMIT, 9, -1}},
                         .n_candidates = 1,
                         .sources = {{.file = r >> 16 & 31, .line = 1, .n_lines = 2, .hash = r}},
                         .n_sources = 1};
    check(record_write(&rec, out) == OK, "a record cannot be written");
}

static void put_some(struct disk_cache *d, uint64_t *state, bool is_touch)
{
    struct buf bytes;
    size_t ends[BATCH_MAX];
    struct disk_put puts[BATCH_MAX];
    buf_init(&bytes, BATCH_MAX * RECORD_BYTES_MAX);
    int32_t n = 1 + (int32_t)(next_random(state) % BATCH_MAX);
    for (int32_t i = 0; i < n; i++) {
        random_record(state, &bytes);
        ends[i] = bytes.len;
    }
    for (int32_t i = 0; i < n; i++) {
        size_t at = i > 0 ? ends[i - 1] : 0;
        puts[i] = (struct disk_put){bytes.data + at, ends[i] - at};
    }
    if (is_touch) {
        disk_cache_touch(d, puts, n);
    } else {
        disk_cache_put(d, puts, n);
    }
    buf_clear(&bytes);
}

static void clear_some(struct disk_cache *d, uint64_t r)
{
    struct errmsg msg;
    int64_t n;
    uint64_t file = r % N_FILES;
    check(disk_cache_clear(d, r % 4 ? &file : NULL, &n, &msg) == OK, "clearing failed");
}

static void *find_all(void *arg)
{
    struct disk_cache *d = arg;
    struct disk_found found = {.n = 0};
    uint64_t state = 1;
    buf_init(&found.bytes, DISK_FOUND_MAX * RECORD_BYTES_MAX);
    for (;;) {
        struct place p;
        struct record r;
        random_place(&p, &state);
        disk_cache_find(d, &p.key, &found);
        for (int32_t i = 0; i < found.n; i++) {
            size_t at = i > 0 ? found.ends[i - 1] : 0;
            struct place own;
            check(record_read(found.bytes.data + at, found.ends[i] - at, &r) == OK, "not a record");
            place_init(&own, r.line[0], (int)r.typed_len);
            check(r.line[0] == p.key.line[0] && r.line[1] == p.key.line[1] &&
                      memcmp(r.candidates[0].text, own.start, strlen(own.start)) == 0,
                  "found what belongs elsewhere");
        }
    }
    return NULL;
}

static void write_until_killed(const char *path, int64_t max_bytes, uint64_t state)
{
    struct disk_cache *d;
    struct errmsg msg;
    pthread_t thread;
    check(disk_cache_open(path, max_bytes, &d, &msg) == OK, "cannot open");
    check(thread_create(&thread, find_all, d) == 0, "no thread");
    for (;;) {
        uint64_t r = next_random(&state);
        if (r % 400 == 0) {
            clear_some(d, r / 400);
        } else if (r % 10 == 1) {
            disk_cache_collect(d, r & 1024 ? "/a.gguf" : "/b.gguf", r >> 20 & 3, 100);
        } else {
            put_some(d, &state, r % 4 == 0);
        }
    }
}

/* ---- Checking ---- */

static void verify(const char *path, int64_t *n_entries)
{
    struct disk_report report;
    struct errmsg msg;
    if (disk_cache_verify(path, &report, &msg) != OK) check(false, msg.text);
    check(report.n_bad == 0 && report.fault[0] == '\0', report.fault);
    *n_entries = report.n_entries;
}

static void check_left(const char *path, int64_t max_bytes)
{
    struct disk_cache *d;
    struct disk_stats stats;
    struct errmsg msg;
    int64_t n_left, n_now;
    uint64_t state = 7;
    verify(path, &n_left);
    int64_t start = clock_ns();
    check(disk_cache_open(path, max_bytes, &d, &msg) == OK, "cannot open");
    double open_ms = clock_ms_since(start);
    disk_cache_stats(d, &stats);
    check(stats.n_entries == n_left, "opening changed how many there are");
    put_some(d, &state, false);
    disk_cache_stats(d, &stats);
    check(stats.n_rebuilt == 0 && stats.n_failed == 0, "it does not work");
    disk_cache_close(&d);
    verify(path, &n_now);
    check(n_now == stats.n_entries, "not all is there after closing");
    printf("%" PRId64 " %.3f\n", n_left, open_ms);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        write_until_killed(argv[2], strtoll(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    }
    if (argc != 4 || strcmp(argv[1], "check") != 0) return 2;
    check_left(argv[2], strtoll(argv[3], NULL, 10));
    return 0;
}
