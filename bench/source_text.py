"""A C source file for traces: written by rule, the same every time, as long as one asks for.

The file is made of small containers of four kinds, each with its own names, so that it reads and tokenises like code
that people write, in the airy style of older C: 256 lines of it fit into what llama-server takes of a prefix."""

HEADER = """\
/* Containers of one program, each with what it needs and no more. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"

"""

# name, what it holds, its type, a limit, what a full one does
CONTAINERS = [
    ("queue", "jobs that wait", "struct job *", 256, "the oldest job is dropped"),
    ("history", "lines that were typed", "const char *", 1000, "the oldest line is forgotten"),
    ("palette", "colours in use", "uint32_t", 64, "the nearest colour is taken"),
    ("route", "stations on the way", "int", 512, "the route ends there"),
    ("ledger", "amounts in cents", "int64_t", 4096, "a new page is begun"),
    ("crew", "members by number", "uint16_t", 32, "the newcomer has to wait"),
    ("shelf", "books by shelf mark", "const struct book *", 128, "another shelf is built"),
    ("track", "samples of one channel", "float", 8192, "the track is cut there"),
    ("roster", "shifts of a week", "struct shift", 168, "the week is over"),
    ("basket", "goods and their prices", "struct good", 100, "the customer is asked to pay"),
    ("chart", "points of a curve", "double", 2048, "every other point is left out"),
    ("outbox", "letters to be sent", "struct letter *", 50, "sending begins at once"),
    ("atlas", "maps by scale", "struct map *", 24, "the oldest map is folded away"),
    ("register", "guests of the house", "struct guest", 80, "the house is full"),
    ("score", "notes of one voice", "uint8_t", 1024, "the voice falls silent"),
    ("garden", "plants by row", "struct plant", 300, "a new bed is dug"),
]

RING = """\
/*
 * {Name}: {holds}.
 * When it is full, {full}.
 */
struct {name}
{{
    {type}{space}items[{limit}];
    size_t first;
    size_t used;
}};

void
{name}_init(struct {name} *{v})
{{
    {v}->first = 0;
    {v}->used = 0;
}}

bool
{name}_add(struct {name} *{v}, {type}{space}item)
{{
    size_t at;

    if ({v}->used == {limit})
    {{
        return false;
    }}

    at = {v}->first + {v}->used;
    if (at >= {limit})
    {{
        at -= {limit};
    }}

    {v}->items[at] = item;
    {v}->used++;

    return true;
}}

bool
{name}_take(struct {name} *{v}, {type}{space}*out)
{{
    if ({v}->used == 0)
    {{
        return false;
    }}

    *out = {v}->items[{v}->first];
    {v}->used--;

    return true;
}}

"""

LIST = """\
/*
 * {Name}: {holds}, newest first.
 * Beyond {limit}, {full}.
 */
struct {name}_node
{{
    struct {name}_node *next;
    {type}{space}value;
}};

struct {name}
{{
    struct {name}_node *newest;
    int length;
}};

int
{name}_push(struct {name} *list, {type}{space}value)
{{
    struct {name}_node *node;

    node = memory_new(sizeof *node);
    if (!node)
    {{
        return -1;
    }}

    node->value = value;
    node->next = list->newest;
    list->newest = node;
    list->length++;

    return list->length;
}}

void
{name}_clear(struct {name} *list)
{{
    struct {name}_node *node;

    while (list->newest)
    {{
        node = list->newest;
        list->newest = node->next;
        memory_free(node);
    }}

    list->length = 0;
}}

"""

TABLE = """\
/*
 * {Name}: {holds}, by key.
 * At {limit} keys, {full}.
 */
struct {name}_slot
{{
    uint32_t key;
    {type}{space}value;
}};

static uint32_t
{name}_hash(uint32_t key)
{{
    key ^= key >> 16;
    key *= 0x7feb352d;

    return key;
}}

static struct {name}_slot *
{name}_find(struct {name}_slot *slots,
    uint32_t key)
{{
    uint32_t at;
    struct {name}_slot *slot;

    at = {name}_hash(key);

    for (;;)
    {{
        slot = &slots[at % {limit}];

        if (slot->key == key)
        {{
            break;
        }}

        if (slot->key == 0)
        {{
            break;
        }}

        at++;
    }}

    return slot;
}}

"""

SORTED = """\
/*
 * {Name}: {holds}, ascending.
 * At {limit}, {full}.
 */
struct {name}
{{
    {type}{space}*values;
    size_t count;
    size_t room;
}};

/* Binary search. */
static size_t
{name}_lower_bound(struct {name} *{v},
    {type}{space}value)
{{
    size_t low = 0;
    size_t high = {v}->count;
    size_t middle;

    while (low < high)
    {{
        middle = low + (high - low) / 2;

        if (is_less({v}->values[middle], value))
        {{
            low = middle + 1;
        }}
        else
        {{
            high = middle;
        }}
    }}

    return low;
}}

static bool
{name}_grow(struct {name} *{v})
{{
    size_t room;
    void *grown;

    room = 2 * {v}->room + 16;
    grown = memory_resize({v}->values, room);
    if (!grown)
    {{
        return false;
    }}

    {v}->values = grown;
    {v}->room = room;

    return true;
}}

"""

UNITS = [RING, LIST, TABLE, SORTED]


def source_text(n_lines, first=0):
    """The first n_lines lines; at most about 700. `first` is the container to begin with: texts that begin with
    another one are alike, but for the head no part of them is the same at the same place."""
    text = HEADER
    for i in range(first, first + len(CONTAINERS)):
        name, holds, kind, limit, full = CONTAINERS[i % len(CONTAINERS)]
        text += UNITS[i % len(UNITS)].format(name=name, Name=name.capitalize(), NAME=name.upper(), v=name[0], holds=holds, type=kind,
                            space="" if kind.endswith("*") else " ", limit=limit, full=full)
    lines = text.splitlines(keepends=True)
    if n_lines > len(lines):
        raise ValueError(f"the text has {len(lines)} lines, not {n_lines}")
    return "".join(lines[:n_lines])


if __name__ == "__main__":
    import sys

    sys.stdout.write(source_text(int(sys.argv[1]) if len(sys.argv) > 1 else 614))
