/* The files of a project and the names in them, for one writer and any number of readers, none of whom waits:
 * two equal tables, of which readers use the active one. The writer changes the other, makes that active,
 * waits until the last reader has left the first, and makes the same change there (Ramalhete and Correia,
 * "Left-Right", 2013). Files themselves are constant and shared by both.
 *
 * A reader counts itself in on a side and then looks whether the side is still active; the writer sets the
 * side and then looks at the count. Both are sequentially consistent, so that one of the two sees the other.
 */
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/mem.h"
#include "context/project_impl.h"

uint32_t project_table_hash(const char *bytes, size_t len)
{
    uint32_t hash = (uint32_t)XXH3_64bits(bytes, len);
    return hash ? hash : 1; /* 0 marks empty slots */
}

/* ---- Maps */

/* The slot of a hash, or the empty one where it belongs. There must be an empty one. */
static struct project_slot *find_slot(struct project_slot *slots, uint32_t cap, uint32_t hash)
{
    uint32_t at = hash & (cap - 1);
    while (slots[at].hash && slots[at].hash != hash) at = (at + 1) & (cap - 1);
    return &slots[at];
}

const struct project_link *project_map_first(const struct project_map *m, uint32_t hash, uint32_t *n)
{
    *n = 0;
    if (m->cap_slots == 0) return NULL;
    const struct project_slot *slot = find_slot(m->slots, m->cap_slots, hash);
    *n = slot->n;
    return slot->first ? &m->links[slot->first - 1] : NULL;
}

const struct project_link *project_map_next(const struct project_map *m, const struct project_link *link)
{
    return link->next ? &m->links[link->next - 1] : NULL;
}

/* Whether n more links, each perhaps with a slot of its own, leave a quarter of the slots empty. */
static bool has_slots(const struct project_map *m, uint32_t n)
{
    return m->n_slots + n <= m->cap_slots / 4 * 3;
}

/* How many slots there should be then; those whose links have all gone do not count. */
static uint32_t slots_for(const struct project_map *m, uint32_t n)
{
    uint32_t n_live = 0, cap = 64;
    for (uint32_t i = 0; i < m->cap_slots; i++) n_live += m->slots[i].n > 0;
    while (n_live + n > cap / 2) cap *= 2;
    return cap;
}

static uint32_t links_for(const struct project_map *m, uint32_t n)
{
    return m->n_links + n <= m->cap_links ? m->cap_links : (m->n_links + n) / 2 * 3 + 64;
}

static size_t map_bytes(const struct project_map *m)
{
    return m->cap_slots * sizeof *m->slots + m->cap_links * sizeof *m->links;
}

/* While arrays are being copied there are both. */
static size_t map_growth(const struct project_map *m, uint32_t n)
{
    uint32_t links = links_for(m, n);
    return (has_slots(m, n) ? 0 : slots_for(m, n) * sizeof *m->slots) +
           (links > m->cap_links ? links * sizeof *m->links : 0);
}

/* Slots whose links have all gone are left behind here. */
static bool rehash(struct project_map *m, uint32_t cap)
{
    struct project_slot *slots = mem_try(cap, sizeof *slots);
    if (!slots) return false;
    m->n_slots = 0;
    for (uint32_t i = 0; i < m->cap_slots; i++) {
        if (m->slots[i].n == 0) continue;
        *find_slot(slots, cap, m->slots[i].hash) = m->slots[i];
        m->n_slots++;
    }
    mem_free(m->slots);
    m->slots = slots;
    m->cap_slots = cap;
    return true;
}

static bool map_reserve(struct project_map *m, uint32_t n)
{
    uint32_t links = links_for(m, n);
    if (!has_slots(m, n) && !rehash(m, slots_for(m, n))) return false;
    if (links > m->cap_links) {
        struct project_link *p = mem_try_resize(m->links, links, sizeof *p);
        if (!p) return false;
        m->links = p;
        m->cap_links = links;
    }
    return true;
}

/* There must be room. */
static void map_add(struct project_map *m, uint32_t hash, struct project_file *file, uint32_t item)
{
    struct project_slot *slot = find_slot(m->slots, m->cap_slots, hash);
    if (!slot->hash) {
        slot->hash = hash;
        m->n_slots++;
    }
    uint32_t link = m->unused;
    if (link)
        m->unused = m->links[link - 1].next;
    else
        link = ++m->n_links;
    m->links[link - 1] = (struct project_link){.file = file, .item = item, .next = slot->first};
    slot->first = link;
    slot->n++;
}

static void map_remove(struct project_map *m, uint32_t hash, const struct project_file *file, uint32_t item)
{
    struct project_slot *slot = find_slot(m->slots, m->cap_slots, hash);
    uint32_t *at = &slot->first;
    while (*at && (m->links[*at - 1].file != file || m->links[*at - 1].item != item))
        at = &m->links[*at - 1].next;
    if (!*at) return;
    uint32_t link = *at;
    *at = m->links[link - 1].next;
    m->links[link - 1] = (struct project_link){.next = m->unused};
    m->unused = link;
    slot->n--;
}

static void map_clear(struct project_map *m)
{
    mem_free(m->slots);
    mem_free(m->links);
    *m = (struct project_map){0};
}

/* ---- Tables */

static uint32_t folder_hash(const struct project_file *f)
{
    size_t len;
    const char *folder = project_file_folder(f, &len);
    return project_table_hash(folder, len);
}

static bool reserve(struct project_table *t, const struct project_file *f)
{
    return map_reserve(&t->units, (uint32_t)f->n_units) && map_reserve(&t->paths, 1) &&
           map_reserve(&t->names, 1) && map_reserve(&t->folders, 1);
}

static void add(struct project_table *t, struct project_file *f)
{
    for (int32_t i = 0; i < f->n_units; i++) map_add(&t->units, f->units[i].name_hash, f, (uint32_t)i);
    map_add(&t->paths, project_table_hash(f->path, strlen(f->path)), f, 0);
    map_add(&t->names, project_table_hash(f->name, strlen(f->name)), f, 0);
    map_add(&t->folders, folder_hash(f), f, 0);
}

static void take_out(struct project_table *t, const struct project_file *f)
{
    for (int32_t i = 0; i < f->n_units; i++) map_remove(&t->units, f->units[i].name_hash, f, (uint32_t)i);
    map_remove(&t->paths, project_table_hash(f->path, strlen(f->path)), f, 0);
    map_remove(&t->names, project_table_hash(f->name, strlen(f->name)), f, 0);
    map_remove(&t->folders, folder_hash(f), f, 0);
}

static bool replace(struct project_table *t, struct project_file *known, struct project_file *file)
{
    if (file && !reserve(t, file)) return false;
    if (known) take_out(t, known);
    if (file) add(t, file);
    return true;
}

const struct project_file *project_table_file(const struct project_table *t, const char *path, size_t len)
{
    uint32_t n;
    const struct project_link *l = project_map_first(&t->paths, project_table_hash(path, len), &n);
    for (; l; l = project_map_next(&t->paths, l)) {
        if (strncmp(l->file->path, path, len) == 0 && !l->file->path[len]) return l->file;
    }
    return NULL;
}

/* ---- Both sides */

const struct project_table *project_table_enter(struct project_tables *t, int *side)
{
    for (;;) {
        *side = atomic_load(&t->active);
        atomic_fetch_add(&t->n_readers[*side], 1);
        if (atomic_load(&t->active) == *side) return &t->sides[*side];
        atomic_fetch_sub(&t->n_readers[*side], 1); /* changed in between: the other side, then */
    }
}

void project_table_leave(struct project_tables *t, int side)
{
    atomic_fetch_sub(&t->n_readers[side], 1);
}

/* Send readers to the other side and wait until the last has left this one: a lookup takes microseconds. */
static void leave_side(struct project_tables *t, int side)
{
    atomic_store(&t->active, 1 - side);
    while (atomic_load(&t->n_readers[side]) > 0) nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

bool project_table_publish(struct project_tables *t, struct project_file *known, struct project_file *file)
{
    int first = 1 - atomic_load(&t->active), second = 1 - first;
    if (!replace(&t->sides[first], known, file)) return false;
    leave_side(t, second);
    if (replace(&t->sides[second], known, file)) return true;
    leave_side(t, first);
    take_out(&t->sides[first], file);
    if (known) add(&t->sides[first], known); /* into the room that it had */
    return false;
}

const struct project_table *project_table_own(const struct project_tables *t)
{
    return &t->sides[atomic_load(&t->active)];
}

static size_t table_bytes(const struct project_table *t)
{
    return map_bytes(&t->units) + map_bytes(&t->paths) + map_bytes(&t->names) + map_bytes(&t->folders);
}

size_t project_table_bytes(const struct project_tables *t)
{
    return table_bytes(&t->sides[0]) + table_bytes(&t->sides[1]);
}

size_t project_table_growth(const struct project_tables *t, const struct project_file *file)
{
    const struct project_table *side = project_table_own(t); /* both are alike */
    return 2 * (map_growth(&side->units, (uint32_t)file->n_units) + map_growth(&side->paths, 1) +
                map_growth(&side->names, 1) + map_growth(&side->folders, 1));
}

void project_table_clear(struct project_tables *t)
{
    const struct project_map *paths = &t->sides[0].paths;
    for (uint32_t i = 0; i < paths->n_links; i++) mem_free(paths->links[i].file);
    for (int side = 0; side < 2; side++) {
        map_clear(&t->sides[side].units);
        map_clear(&t->sides[side].paths);
        map_clear(&t->sides[side].names);
        map_clear(&t->sides[side].folders);
    }
}
