/* The radix tree.
 *
 * A node is one block: a head of eight bytes, its value if it has one, its children, the first byte of each
 * child's string (label), and the bytes of its own edge. A child's label is not repeated in the child's edge.
 * Children stand in no order: memchr over the labels finds one about as fast as any order would, up to the
 * 256 that there can be. How many have room follows from how many there are, so that it need not be kept.
 *
 * Compressed: every node has a value or at least two children. (Where memory for joining a node with its last
 * child is missing it stays as it is, and everything is still found.) */
#include "store/radix.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct node {
    uint32_t edge_len;
    uint16_t n_children;
    bool has_value;
    void *slots[]; /* value; children; then bytes: labels, edge */
};

struct radix {
    void *root; /* struct node, or null; a slot as those in nodes are */
    size_t n_strings, n_bytes;
};

/* ---- Nodes ---- */

/* Children that a node with n of them has room for. Most inner nodes have two or three: no waste there; a
 * wide one is not copied for each child that it gets. */
static size_t room_for(size_t n)
{
    if (n <= 4) return n;
    if (n <= 16) return (n + 3) & ~(size_t)3;
    return n <= 64 ? (n + 15) & ~(size_t)15 : (n + 63) & ~(size_t)63;
}

static size_t node_bytes(size_t edge_len, size_t n_children, bool has_value)
{
    size_t room = room_for(n_children);
    return sizeof(struct node) + (has_value + room) * sizeof(void *) + room + edge_len;
}

static void **children_of(struct node *n)
{
    return n->slots + n->has_value;
}

static unsigned char *labels_of(struct node *n)
{
    return (unsigned char *)(children_of(n) + room_for(n->n_children));
}

static unsigned char *edge_of(struct node *n)
{
    return labels_of(n) + room_for(n->n_children);
}

static struct node *node_new(struct radix *r, size_t edge_len, size_t n_children, bool has_value)
{
    struct node *n = mem_try(1, node_bytes(edge_len, n_children, has_value));
    if (!n) return NULL;
    n->edge_len = (uint32_t)edge_len;
    n->n_children = (uint16_t)n_children;
    n->has_value = has_value;
    r->n_bytes += node_bytes(edge_len, n_children, has_value);
    return n;
}

static void node_free(struct radix *r, struct node *n)
{
    if (!n) return;
    r->n_bytes -= node_bytes(n->edge_len, n->n_children, n->has_value);
    mem_free(n);
}

static struct node *leaf_new(struct radix *r, const char *edge, size_t edge_len)
{
    struct node *leaf = node_new(r, edge_len, 0, true);
    if (leaf && edge_len > 0) memcpy(edge_of(leaf), edge, edge_len);
    return leaf;
}

/* Replace the node in a slot by a copy that has room for more: a value, more children, or a longer edge,
 * whose first bytes are then left to the caller. False: no memory, and all is as it was. */
static bool node_grow(struct radix *r, void **slot, size_t edge_len, size_t n_children, bool has_value)
{
    struct node *old = *slot, *n = node_new(r, edge_len, n_children, has_value);
    if (!n) return false;
    memcpy(children_of(n), children_of(old), old->n_children * sizeof(void *));
    memcpy(labels_of(n), labels_of(old), old->n_children);
    memcpy(edge_of(n) + (edge_len - old->edge_len), edge_of(old), old->edge_len);
    if (old->has_value) n->slots[0] = old->slots[0];
    node_free(r, old);
    *slot = n;
    return true;
}

/* Make the node in a slot smaller: without its value, without its last children, without the first bytes of
 * its edge. Every part moves towards the block's beginning, in its order; so this cannot fail, even if the
 * block cannot be made shorter. */
static void node_shrink(struct radix *r, void **slot, size_t edge_len, size_t n_children, bool has_value)
{
    struct node *n = *slot;
    void **children = children_of(n);
    unsigned char *labels = labels_of(n), *edge = edge_of(n) + (n->edge_len - edge_len);
    r->n_bytes -= node_bytes(n->edge_len, n->n_children, n->has_value);
    n->edge_len = (uint32_t)edge_len;
    n->n_children = (uint16_t)n_children;
    n->has_value = has_value;
    memmove(children_of(n), children, n_children * sizeof(void *));
    memmove(labels_of(n), labels, n_children);
    memmove(edge_of(n), edge, edge_len);
    r->n_bytes += node_bytes(edge_len, n_children, has_value);
    void *shorter = mem_try_resize(n, 1, node_bytes(edge_len, n_children, has_value));
    if (shorter) *slot = shorter;
}

/* The slot of the child with this label, or null. */
static void **child_slot(struct node *n, char label)
{
    unsigned char *labels = labels_of(n);
    unsigned char *at = n->n_children > 0 ? memchr(labels, (unsigned char)label, n->n_children) : NULL;
    return at ? children_of(n) + (at - labels) : NULL;
}

/* Add a child with this label to the node in a slot. False: no memory. */
static bool node_adopt(struct radix *r, void **slot, char label, struct node *child)
{
    struct node *n = *slot;
    size_t had = n->n_children;
    if (room_for(had + 1) == room_for(had))
        n->n_children++;
    else if (!node_grow(r, slot, n->edge_len, had + 1, n->has_value))
        return false;
    n = *slot;
    children_of(n)[had] = child;
    labels_of(n)[had] = (unsigned char)label;
    return true;
}

/* Join the node in a slot with its child if it is only a step on the way to that. */
static void node_join(struct radix *r, void **slot)
{
    struct node *n = *slot;
    if (n->has_value || n->n_children != 1) return;
    void *joined = children_of(n)[0];
    struct node *child = joined;
    if (!node_grow(r, &joined, (size_t)n->edge_len + 1 + child->edge_len, child->n_children,
                   child->has_value))
        return;
    unsigned char *edge = edge_of(joined);
    memcpy(edge, edge_of(n), n->edge_len);
    edge[n->edge_len] = labels_of(n)[0];
    node_free(r, n);
    *slot = joined;
}

/* ---- The tree ---- */

struct radix *radix_new(void)
{
    struct radix *r = MEM_NEW(struct radix);
    r->n_bytes = sizeof(*r);
    return r;
}

/* Trees may be as deep as strings are long, so that the way back is kept in the slots passed on the way down
 * (Schorr and Waite 1967) instead of on the stack. */
void radix_free(struct radix **r)
{
    if (!*r) return;
    struct node *n = (*r)->root, *above = NULL;
    while (n) {
        if (n->n_children > 0) {
            void **last = &children_of(n)[n->n_children - 1];
            struct node *child = *last;
            *last = above;
            above = n;
            n = child;
            continue;
        }
        mem_free(n);
        n = above;
        if (n) above = children_of(n)[--n->n_children];
    }
    mem_free(*r);
    *r = NULL;
}

/* Divide the node in a slot behind `keep` bytes of its edge, where a string ends or goes on as `rest`. */
static void **divide(struct radix *r, void **slot, size_t keep, const char *rest, size_t rest_len)
{
    bool ends_here = rest_len == 0;
    struct node *lower = *slot;
    struct node *leaf = ends_here ? NULL : leaf_new(r, rest + 1, rest_len - 1);
    struct node *upper = ends_here || leaf ? node_new(r, keep, ends_here ? 1 : 2, ends_here) : NULL;
    if (!upper) {
        node_free(r, leaf);
        return NULL;
    }
    memcpy(edge_of(upper), edge_of(lower), keep);
    void **children = children_of(upper);
    children[0] = lower;
    labels_of(upper)[0] = edge_of(lower)[keep];
    if (leaf) {
        children[1] = leaf;
        labels_of(upper)[1] = (unsigned char)rest[0];
    }
    node_shrink(r, &children[0], lower->edge_len - keep - 1, lower->n_children, lower->has_value);
    *slot = upper;
    r->n_strings++;
    return ends_here ? upper->slots : leaf->slots;
}

static void **add_value(struct radix *r, void **slot)
{
    struct node *n = *slot;
    if (!n->has_value) {
        if (!node_grow(r, slot, n->edge_len, n->n_children, true)) return NULL;
        r->n_strings++;
        n = *slot;
    }
    return n->slots;
}

/* A leaf for what a string goes on with below the node in a slot, or where there is no node yet. */
static void **add_leaf(struct radix *r, void **slot, const char *rest, size_t rest_len)
{
    size_t n_label = *slot ? 1 : 0;
    struct node *leaf = leaf_new(r, rest + n_label, rest_len - n_label);
    if (!leaf) return NULL;
    if (!*slot) {
        *slot = leaf;
    } else if (!node_adopt(r, slot, rest[0], leaf)) {
        node_free(r, leaf);
        return NULL;
    }
    r->n_strings++;
    return leaf->slots;
}

static size_t common_len(const unsigned char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == (unsigned char)b[n]) n++;
    return n;
}

void **radix_add(struct radix *r, const char *bytes, size_t len)
{
    if (len > UINT32_MAX) return NULL;
    void **slot = &r->root;
    while (*slot) {
        struct node *n = *slot;
        size_t same = common_len(edge_of(n), n->edge_len, bytes, len);
        bytes += same;
        len -= same;
        if (same < n->edge_len) return divide(r, slot, same, bytes, len);
        if (len == 0) return add_value(r, slot);
        void **child = child_slot(n, *bytes);
        if (!child) break;
        slot = child;
        bytes++;
        len--;
    }
    return add_leaf(r, slot, bytes, len);
}

static bool begins_with_edge(struct node *n, const char *bytes, size_t len)
{
    return len >= n->edge_len && (n->edge_len == 0 || memcmp(bytes, edge_of(n), n->edge_len) == 0);
}

void radix_remove(struct radix *r, const char *bytes, size_t len)
{
    void **slot = &r->root, **above = NULL;
    struct node *n;
    for (;;) {
        n = *slot;
        if (!n || !begins_with_edge(n, bytes, len)) return;
        bytes += n->edge_len;
        len -= n->edge_len;
        if (len == 0) break;
        void **child = child_slot(n, *bytes);
        if (!child) return;
        above = slot;
        slot = child;
        bytes++;
        len--;
    }
    if (!n->has_value) return;
    r->n_strings--;
    if (n->n_children > 0) {
        node_shrink(r, slot, n->edge_len, n->n_children, false);
        node_join(r, slot);
        return;
    }
    node_free(r, n);
    *slot = NULL;
    if (!above) return;
    struct node *parent = *above;
    size_t gone = (size_t)(slot - children_of(parent)), last = parent->n_children - 1u;
    children_of(parent)[gone] = children_of(parent)[last];
    labels_of(parent)[gone] = labels_of(parent)[last];
    node_shrink(r, above, parent->edge_len, last, parent->has_value);
    node_join(r, above);
}

/* ---- Looking up ---- */

static void reverse(struct radix_prefix *p, int n)
{
    for (int i = 0; i < n / 2; i++) {
        struct radix_prefix kept = p[i];
        p[i] = p[n - 1 - i];
        p[n - 1 - i] = kept;
    }
}

int radix_prefixes(const struct radix *r, const char *bytes, size_t len, size_t least,
                   struct radix_prefix *out, int max)
{
    int n_found = 0;
    size_t done = 0;
    for (struct node *n = r->root; n && begins_with_edge(n, bytes + done, len - done);) {
        done += n->edge_len;
        if (n->has_value && done >= least && max > 0) {
            if (n_found == max) memmove(out, out + 1, (size_t)--n_found * sizeof(*out));
            out[n_found++] = (struct radix_prefix){n->slots[0], done};
        }
        if (done == len) break;
        void **child = child_slot(n, bytes[done++]);
        n = child ? *child : NULL;
    }
    reverse(out, n_found);
    return n_found;
}

void *radix_find(const struct radix *r, const char *bytes, size_t len)
{
    struct radix_prefix whole;
    return radix_prefixes(r, bytes, len, len, &whole, 1) > 0 ? whole.value : NULL;
}

size_t radix_n(const struct radix *r)
{
    return r->n_strings;
}

size_t radix_bytes(const struct radix *r)
{
    return r->n_bytes;
}
