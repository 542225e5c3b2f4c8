/* The contract of the kernels: batch normalization, and its gradient, of float32 tensors laid out batch, channels, spatial.
 *
 * Terms. X holds batch × channels × spatial values, spatial (H·W) contiguous. A slab is the spatial values of one channel in
 * one image. A row is one image's slabs of a range of channels, side by side. A piece of X is some rows of such a range,
 * `stride` values from the start of one row to the start of the next; in slabs (below) it may be some positions of one slab.
 * Y is the output, G the gradient of a loss with respect to Y, of X's layout; a piece of them is that of X at the same place.
 *
 * Use, for a range of channels. Training: bn_statistics on all its pieces in order, then bn_moments, bn_fold, and bn_normalize
 * on all its pieces in any order. Inference: bn_fold, bn_normalize.
 *   The gradient: bn_fold after the same statistics as the output, or after given ones; bn_gradient_sums on all pieces in order,
 * bn_gradient_fold; in training bn_gradient_input on all pieces in any order. In inference the gradient with respect to X is what
 * bn_normalize makes of G with the same gamma and variance, and mean and beta 0. If the output went through relu, G is what bn_mask
 * makes of it.
 *
 * Memory. All sizes count elements. Nothing is allocated, nothing can fail, no state is kept: the caller lends
 *   channel   one bn_channel per channel
 *   gradient  one bn_gradient per channel
 *   partial   4 doubles per series (below), for the gradient 6: what blocks are summed to
 *   fold      3 floats per series, for the gradient 8: what the hot loops read
 * and X, Y, G, and what is written. An output may be the very memory of X, or of G where there is one, with the same stride; none
 * may otherwise overlap another. Doubles are aligned to 8 bytes, floats to 4.
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
 * A piece ends where a block ends, or where the tensor does; for bn_normalize, bn_mask and bn_gradient_input also after any row.
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
 * Of the gradient, of each block: Σ g, Σ d and Σ g·d, in double, with d = x − center, the center being mean_hi (0 if that is not
 * finite). Slabs: 4 doubles, value i of a slab to the double i mod 4, added as (0 + 2) + (1 + 3); the values that are left after a
 * slab's last 4 to one more. Columns: one double, in the order of the rows. The sums of blocks are added in order, then those of
 * series.
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
  double gamma, beta; /* set by the caller; bn_fold makes a beta of −0 one of 0 */
  double mean_hi;     /* the mean as a float32; in inference the mean, set by the caller before bn_fold */
  double mean_lo;     /* the mean less mean_hi, 0 unless finite; in inference 0, set by the caller before bn_fold */
  double variance;    /* biased; in inference set by the caller before bn_fold */
  double inv_std;     /* 1 / sqrt(variance + epsilon), set by bn_fold */
} bn_channel;

/** What the gradient makes of a channel: ten doubles, in this order. */
typedef struct {
  double gamma, beta;      /* the gradients of gamma and beta */
  double g_hi, g_lo;       /* the mean of G in two parts */
  double mean_hi, mean_lo; /* the batch's own mean, whatever was given */
  double scale, slope;     /* of (G − its mean), and of (X − mean) */
  double first, uneven;    /* the first gradient, and whether any is not equal to it */
} bn_gradient;

/** Adds a piece to the statistics in partial, after `seen` values of each series. What partial held is lost if that is 0. Uses
 * fold. epsilon is that of bn_fold. */
void bn_statistics(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, double epsilon,
                   size_t seen, double *partial, float *fold);

/** Statistics of `count` values of each channel → mean_hi, mean_lo and variance. */
void bn_moments(double count, size_t channels, size_t spatial, bool columns, const double *partial, bn_channel *channel);

/** Mean and variance, in training those of bn_moments → mean_hi, mean_lo, inv_std and fold. */
void bn_fold(double epsilon, bool training, size_t channels, size_t spatial, bool columns, bn_channel *channel, float *fold);

/** y ← (x − mean) · inv_std · gamma + beta, over a piece; with relu not less than 0, and never −0. With scale = gamma · inv_std and
 * shift = beta − mean_lo · scale: in float32, as (x − mean_hi) · scale + shift, the shift being 0 for −0, if gamma = 0 or
 * 2⁻¹²⁶ ≤ |scale| ≤ 2¹²⁷; |mean_hi| and |shift| < 2¹⁰²; in training not 0 < variance < 2⁻²³⁰; in inference shift is a float32. Else,
 * channel by channel, in double with one rounding. In slabs also each BN_BLOCK_POSITIONS, from 64 on, of which the first 8 are all
 * nearer to mean_hi than 2⁻¹¹⁵, but not all equal to it: float32 would take ten times as long for subnormal numbers. */
void bn_normalize(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride, size_t channels, size_t spatial,
                  bool columns, bool relu, const bn_channel *channel, const float *fold);

/** to ← g where y > 0, elsewhere 0, over rows of `width` values. `to` may be g, with the same stride. */
void bn_mask(const float *y, const float *g, float *to, size_t rows, size_t y_stride, size_t g_stride, size_t to_stride,
             size_t width);

/** Adds a piece to the sums in partial, after `seen` values of each series. What partial held is lost if that is 0. fold is
 * bn_fold's. Sets first and uneven. */
void bn_gradient_sums(const float *x, const float *g, size_t rows, size_t x_stride, size_t g_stride, size_t channels,
                      size_t spatial, bool columns, size_t seen, double *partial, bn_gradient *gradient, const float *fold);

/** Sums of `count` values of each channel → what else is in gradient, and fold behind that of bn_fold. mean(…) is a sum times 1 / count,
 * which is rounded first.
 *   S         Training: Σ g·d − mean(g) · Σ d, or 0 if no gradient differs; NaN unless Σ g and Σ d are finite. Inference: Σ g·d less
 *             (mean_hi − center + mean_lo) · Σ g, unless that factor is 0, or finite while Σ g is not.
 *   gamma     S · inv_std; beta is Σ g
 *   scale     of bn_channel, gamma · inv_std
 *   slope     scale · ratio, with ratio = mean(S) / (variance + epsilon)
 *   mean_hi   center + mean(d) as a float32, and mean_lo = (center − mean_hi) + mean(d); g_hi and g_lo are those of a mean
 * In inference only gamma and beta have a meaning. */
void bn_gradient_fold(double count, double epsilon, bool training, size_t channels, size_t spatial, bool columns,
                      const double *partial, const bn_channel *channel, bn_gradient *gradient, float *fold);

/** y ← (g − mean(g)) · scale − (x − mean) · slope, over a piece. With constant = scale · (mean_lo · ratio − g_lo): in float32, as
 * ((g − g_hi) · scale + constant) − (x − mean_hi) · slope, if scale and slope are each 0 or 2⁻¹²⁶ ≤ |…| ≤ 2¹²⁷, and |mean_hi|, |g_hi|,
 * |constant| and |slope| · √(count · variance) < 2¹⁰². Else, channel by channel, in double, with one rounding. */
void bn_gradient_input(const float *x, const float *g, float *y, size_t rows, size_t x_stride, size_t g_stride, size_t y_stride,
                       size_t channels, size_t spatial, bool columns, const bn_gradient *gradient, const float *fold);

#endif
