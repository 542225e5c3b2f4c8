/* The contract of the kernels: batch normalization of float32 tensors laid out batch, channels, spatial.
 *
 * Terms. X holds batch × channels × spatial values, spatial (H·W) contiguous. A slab is the spatial values of one channel in
 * one image. A row is one image's slabs of a range of channels, side by side. A piece of X is some rows of such a range,
 * `stride` values from the start of one row to the start of the next; in slabs (below) it may be some positions of one slab.
 *
 * Use, for a range of channels. Training: bn_statistics on all its pieces in order, then bn_moments, bn_fold, and bn_normalize
 * on all its pieces in any order. Inference: bn_fold, bn_normalize.
 *
 * Memory. All sizes count elements. Nothing is allocated, nothing can fail, no state is kept: the caller lends
 *   channel   one bn_channel per channel
 *   partial   4 doubles per series (below): bn_statistics writes, bn_moments reads
 *   fold      3 floats per series: what the hot loops read
 * and X, and Y, which bn_normalize writes. Y may be X, with the same stride; none may otherwise overlap another. Doubles are
 * aligned to 8 bytes, floats to 4.
 *
 * Layout. Two ways through a piece, chosen by the caller from (batch, channels, spatial) of the whole tensor alone:
 *   slabs     lanes along a slab; a series, whose moments are summed, is a channel
 *   columns   lanes across the channels and positions of a row, for slabs too short to fill vectors, of at most
 *             BN_BLOCK_POSITIONS; each (channel, position) is a column, and a series of its own until bn_moments
 *
 * Rounding. Arithmetic is IEEE 754, each operation rounded once, none fused (compile with -ffp-contract=off), so that a
 * result has the same bits on every machine and engine, however a tensor is cut into ranges and pieces (any NaN equals any
 * other). Part of the contract is the order of summation. A series is cut into blocks, from the start of the tensor:
 *   slabs     BN_BLOCK_POSITIONS of one slab; of slabs of fewer than BN_SHORT positions, BN_SHORT_ROWS rows
 *   columns   BN_COLUMN_ROWS rows
 * A piece ends where a block ends, or where the tensor does; for bn_normalize alone, also after any row.
 *
 * Of each block are taken, in this order:
 *   sum       Slabs: 8 doubles, value i of a slab to the double i mod 8; one more for what is left after a slab's last 4.
 *             Added as ((0 + 2) + (4 + 6)) + ((1 + 3) + (5 + 7)), then that one. Columns: one double, in the order of the rows.
 *   mean      hi = sum · (1 / n) as a float32, and the rest of it, lo = (sum − n · hi) · (1 / n), a double; 1 / n is rounded
 *             first. Likewise the mean of a series and of a channel.
 *   squares   The squared deviations from hi, in float32. Slabs: trees of 32 values, then 16, then 4, of their vectors of 4
 *             pairwise; the lanes of each go to 4 doubles, added as (0 + 2) + (1 + 3); the values that are left to one more.
 *             Columns: one double, rows by fours, (d0² + d1²) + (d2² + d3²), with zero for a row that is not there.
 *             In double instead unless n · 1e-28 < their sum < 1e36, or it is zero and epsilon ≥ 1e-30; also if first values are
 *             all nearer to hi than 2⁻⁴⁵, but not all equal to it: the first 8 of a block whose slabs hold 8 or more, the first
 *             of a column. Then 4 doubles, value i of a slab to the double i mod 4, added as above, and one more for what is
 *             left after a slab's last 4, or for a column.
 *             In the end less n · lo², which leaves the squared deviations from the mean.
 * The blocks of a series are merged in order (Chan, Golub and LeVeque 1983): of a values and b more, the squares are squares_a +
 * (squares_b + δ² · (a · b / (a + b))) with δ = (hi_b − hi_a) + (lo_b − lo_a), and the sum is sum_a + sum_b.
 * The series of a channel are added in order: their sums; and their squares, each with n · δ² added, δ from the channel's mean to
 * theirs. The variance is that by the count, or 0 if negative.
 * x − mean_hi is exact wherever mean_lo matters, which is what keeps full precision far from zero. docs/numerics.md derives the
 * error bounds. */
#ifndef BN_BATCHNORM_H
#define BN_BATCHNORM_H

#include <stdbool.h>
#include <stddef.h>

/** Positions of a slab in a block. */
#define BN_BLOCK_POSITIONS 4096
/** Slabs of fewer positions than this go by several rows to a block. */
#define BN_SHORT 512
#define BN_SHORT_ROWS 8
/** Rows of a block in columns. */
#define BN_COLUMN_ROWS 256

/** A channel's numbers: six doubles, in this order. */
typedef struct {
  double gamma, beta; /* set by the caller */
  double mean_hi;     /* the mean as a float32; in inference the mean, set by the caller before bn_fold */
  double mean_lo;     /* the mean less mean_hi, 0 unless finite; in inference 0, set by the caller before bn_fold */
  double variance;    /* biased; in inference set by the caller before bn_fold */
  double inv_std;     /* 1 / sqrt(variance + epsilon), set by bn_fold */
} bn_channel;

/** Adds a piece to the statistics in partial, after `seen` values of each series. What partial held is lost if that is 0. Uses
 * fold. epsilon is that of bn_fold. */
void bn_statistics(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, double epsilon,
                   size_t seen, double *partial, float *fold);

/** Statistics of `count` values of each channel → mean_hi, mean_lo and variance. */
void bn_moments(double count, size_t channels, size_t spatial, bool columns, const double *partial, bn_channel *channel);

/** Mean and variance, in training those of bn_moments → mean_hi, mean_lo, inv_std and fold. */
void bn_fold(double epsilon, bool training, size_t channels, size_t spatial, bool columns, bn_channel *channel, float *fold);

/** y ← (x − mean) · inv_std · gamma + beta, over a piece. With scale = gamma · inv_std and shift = beta − mean_lo · scale: in
 * float32, as (x − mean_hi) · scale + shift, if gamma = 0 or 2⁻¹²⁶ ≤ |scale| ≤ 2¹²⁷; |mean_hi| and |shift| < 2¹⁰²; in training not
 * 0 < variance < 2⁻²³⁰; in inference shift is a float32. Else, channel by channel, in double with one rounding. In slabs also
 * each BN_BLOCK_POSITIONS, from 64 on, of which the first 8 are all nearer to mean_hi than 2⁻¹¹⁵, but not all equal to it:
 * float32 would take ten times as long for subnormal numbers. */
void bn_normalize(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride, size_t channels, size_t spatial,
                  bool columns, const bn_channel *channel, const float *fold);

#endif
