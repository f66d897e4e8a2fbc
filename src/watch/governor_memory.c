/* Which memory is short, and what is done about it.
 *
 * There are up to three kinds of which bytes are in use: what we may take by our own limit, what our control
 * group may take, what the machine has. The kind with the largest share decides. It is short from two samples
 * above the level on (or at once above the ceiling) until it is below the lower one. While it is short,
 * actions are tried in order: one that gives goes on until it has nothing left or nothing comes of it, then
 * it is the next one's turn. When all have been tried there is a pause: what cannot be helped by us, such as
 * a machine that others fill, must not keep us busy. */
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "watch/governor_impl.h"
#include "watch/metrics.h"

#define SHORT_AFTER  2 /* samples above the level */
#define WAIT         2 /* samples until an action has had its effect */
#define WAIT_STALLED 6 /* the average of stalls goes over 10 s */
/* Between two rounds of actions when nothing is left to give; above a ceiling. */
#define RETRY_NS         ((int64_t)30000000000)
#define CEILING_RETRY_NS ((int64_t)5000000000)
#define GROUP_MAX        0.95 /* of a control group's limit: next comes the kernel's killer */

/* Percent of time in which tasks wait for memory that is a shortage, and that is not one any more; of such a
 * shortage we are a reason if we have this share of the memory. */
#define STALL_HIGH 10.0
#define STALL_LOW  5.0
#define SIZEABLE   0.10
#define SLACK      0.01       /* below the lower level, so that one action is enough */
#define STALL_PART (1.0 / 16) /* what is to be given back then: this part of the memory */

/* Heap, scratch and stacks, beside weights and KV: this part of the limit, but no less than those of a small
 * model. KV is left enough for a prompt or two. */
#define RESERVE_PART 8
#define RESERVE_MIN  ((int64_t)64 << 20)
#define KV_MIN       ((int64_t)16 << 20)
#define KV_STEPS     16 /* the order changes in steps of this part of the limit */

/* One kind of memory. */
struct kind {
    const char *name;    /* as governor_status.memory_of */
    const char *whose;   /* for people */
    int64_t whole, used; /* bytes; whole 0: there is no such limit */
    double ceiling;      /* share from which all is done at once; 0: none */
};

static double share_of(const struct kind *k)
{
    return k->whole > 0 ? (double)k->used / (double)k->whole : 0;
}

enum { OF_LIMIT, OF_GROUP, OF_MACHINE, N_KINDS };

static void list_kinds(const struct governor *g, const struct machine_sample *s, struct kind kinds[N_KINDS])
{
    kinds[OF_LIMIT] = (struct kind){.name = "limit",
                                    .whose = "our limit of",
                                    .whole = g->o.memory_limit,
                                    .used = s->rss > 0 ? s->rss : 0,
                                    .ceiling = 1};
    kinds[OF_GROUP] = (struct kind){.name = "group", .whose = "the control group's", .ceiling = GROUP_MAX};
    kinds[OF_MACHINE] = (struct kind){.name = "machine", .whose = "the machine's"};
    if (g->o.is_off) return;
    if (s->group_limit > 0) {
        kinds[OF_GROUP].whole = s->group_limit;
        kinds[OF_GROUP].used = s->group_used;
    }
    if (s->memory_total > 0 && s->memory_available >= 0) {
        kinds[OF_MACHINE].whole = s->memory_total;
        kinds[OF_MACHINE].used = s->memory_total - s->memory_available;
    }
}

/* Where a shortage is to be judged by what it was when actions were taken. */
static const struct kind *kind_named(const struct kind kinds[N_KINDS], const char *name)
{
    int i = 0;
    while (i < N_KINDS - 1 && strcmp(kinds[i].name, name) != 0) i++;
    return &kinds[i];
}

static const struct kind *largest(const struct kind kinds[N_KINDS])
{
    const struct kind *best = &kinds[OF_MACHINE];
    for (int i = 0; i < N_KINDS; i++) {
        if (share_of(&kinds[i]) > share_of(best)) best = &kinds[i];
    }
    return best;
}

double governor_memory_share(const struct governor *g, const struct machine_sample *s)
{
    struct kind kinds[N_KINDS] = {0};
    list_kinds(g, s, kinds);
    return share_of(largest(kinds));
}

/* The memory whose stalls a sample tells. */
static const struct kind *stalling(const struct kind kinds[N_KINDS])
{
    return kinds[OF_GROUP].whole > 0 ? &kinds[OF_GROUP] : &kinds[OF_MACHINE];
}

/* Tasks wait for memory, and we have much of it. */
static bool is_stalled(const struct governor *g, const struct machine_sample *s,
                       const struct kind kinds[N_KINDS])
{
    int64_t whole = stalling(kinds)->whole;
    if (whole <= 0 || (double)s->rss < SIZEABLE * (double)whole) return false;
    return s->memory_some > (g->memory.is_short ? STALL_LOW : STALL_HIGH);
}

static void describe(const struct kind *k, const struct machine_sample *s, bool is_stall, char *out,
                     size_t size)
{
    char whole[SIZE_TEXT_MAX];
    if (is_stall)
        snprintf(out, size, "tasks wait for memory %.0f %% of the time", s->memory_some);
    else
        snprintf(out, size, "memory %.0f %% of %s %s", 100 * share_of(k), k->whose,
                 size_text(k->whole, whole));
}

static void begin_again_if_exhausted(struct governor *g, const struct machine_sample *s)
{
    struct governor_memory *m = &g->memory;
    if (m->next < g->n_actions) return;
    m->next = 0;
    m->exhausted_ns = s->at_ns;
}

static bool is_pausing(const struct governor_memory *m, const struct machine_sample *s, bool is_above_ceiling)
{
    int64_t pause = is_above_ceiling ? CEILING_RETRY_NS : RETRY_NS;
    return m->exhausted_ns != 0 && s->at_ns - m->exhausted_ns < pause;
}

/* What has come of the actions that were waited for: by how much the use that was too large fell, divided
 * among them as they estimated it. After nothing, it is the next action's turn. */
static void settle(struct governor *g, const struct kind kinds[N_KINDS])
{
    struct governor_memory *m = &g->memory;
    int64_t fell = m->before_bytes - kind_named(kinds, m->of)->used;
    double sum = 0;
    if (fell < 0) fell = 0;
    for (int32_t i = 0; i < m->n_pending; i++) sum += (double)m->pending[i].estimated;
    for (int32_t i = 0; i < m->n_pending; i++) {
        struct governor_event *e = governor_event_of(g, m->pending[i].event);
        if (e) e->gave_bytes = (int64_t)((double)fell * ((double)m->pending[i].estimated / sum));
    }
    m->n_pending = 0;
    m->next += fell == 0;
    g->status.gave_bytes += fell;
    metrics_add(g->o.metrics, METRIC_GOVERNOR_GIVEN_BYTES, 0, fell);
}

/* Try one action; false: it had nothing to give. */
static bool act(struct governor *g, int32_t i, const struct kind *k, int64_t want, const char *why)
{
    struct governor_memory *m = &g->memory;
    struct governor_action *a = &g->actions[i];
    char what[sizeof g->status.events->what], size[SIZE_TEXT_MAX];
    int64_t gave = a->give(a->ctx, want);
    if (gave <= 0) return false;
    if (m->n_pending == 0) {
        m->of = k->name;
        m->before_bytes = k->used;
    }
    snprintf(what, sizeof what, "%s: %s", a->name, size_text(gave, size));
    int64_t event = governor_note(g, what, why, -1);
    m->pending[m->n_pending++] = (struct governor_pending){.event = event, .estimated = gave};
    g->status.n_actions++;
    metrics_add(g->o.metrics, METRIC_GOVERNOR_ACTIONS, a->metric_label, 1);
    return true;
}

static void act_in_turn(struct governor *g, const struct kind *k, int64_t want, const char *why)
{
    struct governor_memory *m = &g->memory;
    while (m->next < g->n_actions && !act(g, m->next, k, want, why)) m->next++;
}

static void act_at_once(struct governor *g, const struct kind *k, int64_t want, const char *why)
{
    for (int32_t i = 0; i < g->n_actions; i++) act(g, i, k, want, why);
    if (g->memory.n_pending == 0) g->memory.next = g->n_actions;
}

static bool becomes_short(struct governor_memory *m, bool is_high, bool is_above_ceiling)
{
    m->n_high = is_high ? m->n_high + 1 : 0;
    return is_above_ceiling || m->n_high >= SHORT_AFTER;
}

static void end_shortage(struct governor_memory *m)
{
    m->is_short = false;
    m->n_high = 0;
    m->next = 0;
    m->exhausted_ns = 0;
}

static void relieve(struct governor *g, const struct machine_sample *s, const struct kind kinds[N_KINDS])
{
    struct governor_memory *m = &g->memory;
    const struct kind *k = largest(kinds);
    double share = share_of(k);
    bool is_stall = is_stalled(g, s, kinds) && share <= g->o.memory_high;
    bool is_above_ceiling = k->ceiling > 0 && share > k->ceiling;
    if (m->n_pending > 0 && --m->n_wait <= 0) {
        settle(g, kinds);
        begin_again_if_exhausted(g, s);
    }
    if (!m->is_short) m->is_short = becomes_short(m, share > g->o.memory_high || is_stall, is_above_ceiling);
    if (m->is_short && share < g->o.memory_low && !is_stall) end_shortage(m);
    if (!m->is_short || m->n_pending > 0 || is_pausing(m, s, is_above_ceiling)) return;

    char why[sizeof g->status.events->why];
    describe(k, s, is_stall, why, sizeof why);
    if (is_stall) k = stalling(kinds);
    double part = is_stall ? STALL_PART : share - g->o.memory_low + SLACK;
    int64_t want = 1 + (int64_t)(part * (double)k->whole);
    if (is_above_ceiling)
        act_at_once(g, k, want, why);
    else
        act_in_turn(g, k, want, why);
    m->n_wait = is_stall ? WAIT_STALLED : WAIT;
    begin_again_if_exhausted(g, s);
}

/* What KV may take so that all of it stays below a limit; others: bytes of other processes under it. */
static int64_t kv_room(int64_t limit, int64_t others, const struct machine_sample *s)
{
    int64_t reserve = limit / RESERVE_PART > RESERVE_MIN ? limit / RESERVE_PART : RESERVE_MIN;
    int64_t room = limit - others - (s->rss_file > 0 ? s->rss_file : 0) - reserve;
    return room > KV_MIN ? room : KV_MIN;
}

/* Orders follow the room in steps, and down sooner than up. */
static int64_t kv_order(int64_t before, int64_t room, int64_t limit)
{
    int64_t step = limit / KV_STEPS;
    bool is_near = before > 0 && room >= before - step / 2 && room < before + 2 * step;
    if (is_near || step == 0) return before > 0 ? before : room;
    int64_t rounded = room / step * step;
    return rounded > KV_MIN ? rounded : KV_MIN;
}

static void order_kv(struct governor *g, const struct machine_sample *s, struct governor_orders *orders)
{
    int64_t limit = g->o.memory_limit, room = limit > 0 ? kv_room(limit, 0, s) : 0;
    if (s->group_limit > 0 && !g->o.is_off) {
        int64_t group_limit = (int64_t)(GROUP_MAX * (double)s->group_limit);
        int64_t others = s->group_used > s->rss ? s->group_used - s->rss : 0;
        int64_t of_group = kv_room(group_limit, others, s);
        if (room == 0 || of_group < room) {
            room = of_group;
            limit = group_limit;
        }
    }
    g->memory.kv_bytes = room > 0 ? kv_order(g->memory.kv_bytes, room, limit) : 0;
    orders->kv_bytes = g->memory.kv_bytes;
}

void governor_memory_look(struct governor *g, const struct machine_sample *s, struct governor_orders *orders)
{
    struct kind kinds[N_KINDS];
    list_kinds(g, s, kinds);
    const struct kind *k = largest(kinds);
    g->status.memory_share = share_of(k);
    g->status.memory_of = k->name;
    relieve(g, s, kinds);
    order_kv(g, s, orders);
}
