/* Packed weights: the layout that the matrix kernels read fastest, the same for every instruction set.
 *
 * Rows go in panels of 16. A panel holds its columns in units of 32, one after another, and in a unit the
 * weights stand in steps of four columns: [step][row][4 columns], so that one 64-byte vector holds the same
 * four columns of 16 rows, and one 32-bit lane of a dot-product instruction (maddubs, vpdpbusd, sdot, an
 * AMX tile's row) sums up one row. No sums across lanes remain, and four activations are broadcast to all
 * rows at once. Below, "nibbles" of a unit are 4 vectors: low halves are steps 0..3, high halves steps 4..7.
 * Rows past the matrix's last are zero weights.
 *
 * A unit, or for the K formats a block of eight units, is (arrays of 16 have an element per row):
 *
 *   Q8_0            F16 d[16]; int8 q[8][16][4]                                   w = d q
 *   Q4_0            F16 d[16]; nibbles[4][16][4]                                  w = d (q - 8)
 *   Q4_1            F16 d[16], m[16]; nibbles[4][16][4]                           w = d q + m
 *   Q5_0, Q5_1      F16 d[16] (Q5_1: m[16]); fifth bits[16] of 32 bits;
 *                   nibbles[4][16][4]                                             w = d (q - 16), d q + m
 *   IQ4_NL          as Q4_0; q is an index into the format's table                w = d table[q]
 *   Q4_K            F16 d[16], m[16]; then for each of 8 units
 *                   uint8 scale[16], min[16]; nibbles[4][16][4]                   w = d scale q - m min
 *   Q5_K            as Q4_K, with fifth bits before the nibbles
 *   Q6_K            F16 d[16]; then for each of 8 units
 *                   int8 scale[2][16] (of each half); nibbles[4][16][4];
 *                   two more bits [2][16][4]                                      w = d scale (q - 32)
 *
 * Fifth bits: bit s of byte [row][c] of a 64-byte vector belongs to step s, column c. Two more bits: bits 2i
 * and 2i + 1 of byte [v][row][c] belong to step 4 v + i. Other formats are not packed. */
#ifndef KERN_PACK_H
#define KERN_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "kern/kern.h"

#define PACK_ROWS 16
#define PACK_UNIT 32
/* Changes whenever the layout does: packs of another version are not read. */
#define PACK_VERSION 1

/* Bytes of the packed form; 0 if this format is not packed. */
size_t pack_bytes(enum kern_type type, int32_t n_rows, int32_t n_cols);

/* Bytes of one panel: where panel i begins is i times this. A multiple of 32. */
size_t pack_panel_bytes(enum kern_type type, int32_t n_cols);

/* Write rows row0..row1-1 of w (row0 a multiple of PACK_ROWS; row1 too, or n_rows) to their place in dst,
 * which is the start of the whole packed matrix, 64-byte aligned. Plain C; any thread. */
void pack_rows(const struct kern_mat *w, int32_t row0, int32_t row1, void *dst);

#endif
