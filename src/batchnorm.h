/* The contract of the kernels: batch normalization of float32 tensors, and its gradient. Tensors are laid out batch, channels,
 * spatial.
 *
 * Terms. X holds batch × channels × spatial values. The spatial (H·W) values of a channel in an image are contiguous; they are a
 * slab. A row is the slabs of one image, for a range of channels. A piece of X is some rows of such a range; each row starts
 * `stride` values after the one before it. In the slabs layout (below) a piece may also be some positions of one slab.
 * Y is the output. G is the gradient of a loss with respect to Y. Both have X's layout, and their pieces are at the same places as X's.
 *
 * Use, for a range of channels:
 *   Training: bn_statistics on all its pieces in order, then bn_moments and bn_fold, then bn_normalize on all its pieces in any order.
 *   Inference: bn_fold, then bn_normalize on all its pieces in any order.
 *   Gradient: first bn_fold, with the statistics that Y was computed with (given, or computed again as in training). Then
 * bn_gradient_sums on all pieces in order, then bn_gradient_fold. In training, bn_gradient_input follows, on all pieces in any
 * order. In inference the gradient with respect to X is the result of bn_normalize on G, with the same gamma and variance, and
 * with mean and beta 0. If the output went through relu, use the result of bn_mask on G in place of G.
 *
 * Memory. All sizes count elements. The functions allocate nothing, cannot fail and keep no state. The caller provides
 *   channel   one bn_channel per channel
 *   gradient  one bn_gradient per channel
 *   partial   4 doubles per series (below), or 6 for the gradient: the sums of blocks
 *   fold      3 floats per series, or 8 for the gradient: the numbers that the hot loops read
 * and X, Y, G, and the outputs. An output may occupy exactly the memory of X, or of G if the function takes G, with the same stride.
 * No other two of these may overlap. Doubles are aligned to 8 bytes, floats to 4.
 *
 * Layout. There are two ways through a piece. The caller's choice depends only on batch, channels and spatial of the whole
 * tensor. A series is a set of values that are summed together.
 *   slabs     Lanes run along a slab. Each channel is one series.
 *   columns   Lanes run across the channels and positions of a row. This is for slabs too short to fill vectors; they have at
 *             most BN_BLOCK_POSITIONS positions. Each (channel, position) is a column, and one series. bn_moments and
 *             bn_gradient_fold add up the series of a channel.
 *
 * Rounding. Arithmetic is IEEE 754. Each operation is rounded once, and none are fused (compile with -ffp-contract=off). So a result
 * has the same bits on every machine and engine, however a tensor is cut into ranges and pieces (any NaN equals any other). The order
 * of summation is part of the contract. A series is cut into blocks, from the start of the tensor. A block is
 *   slabs     BN_BLOCK_POSITIONS of one slab, or BN_SHORT_ROWS rows if slabs have fewer than BN_SHORT positions
 *   columns   `columns` rows. The caller chooses their number, which also depends only on the dimensions of the whole tensor. In slabs,
 *             the argument `columns` is 0.
 * A piece must end where a block or the tensor ends. For bn_normalize, bn_mask and bn_gradient_input it may also end after any
 * row.
 *
 * For each block, these are computed in this order:
 *   sum       Slabs: 8 doubles; value i of a slab is added to the double i mod 8. The values after a slab's last group of 4 are added
 *             to one more double. The total is ((0 + 2) + (4 + 6)) + ((1 + 3) + (5 + 7)), then plus the extra double.
 *             Columns: one double, in the order of the rows.
 *   mean      hi = sum · (1 / n) as a float32, and the remainder, lo = (sum − n · hi) · (1 / n), as a double; 1 / n is rounded first.
 *             The means of series and of channels are computed in the same way.
 *   squares   The sum of the squared deviations from hi, in float32. Slabs: trees of 32 values, then 16, then 4. A tree adds its
 *             vectors of 4 pairwise; its lanes are added to 4 doubles, whose total is (0 + 2) + (1 + 3). The values after a
 *             slab's last group of 4 are added to one more double, as above. Columns: one double; rows in groups of four, (d0² +
 *             d1²) + (d2² + d3²), with zero for a row that does not exist.
 *             This sum is kept if n · 1e-28 < sum < 1e36, or if it is zero and epsilon ≥ 1e-30. Otherwise the squares are
 *             computed in double. So they are if the block starts with tiny deviations: its first value (columns) or its first 8
 *             (slabs, if they hold 8 or more) are all nearer to hi than 2⁻⁴⁵, but not all equal to it. In double, value i of a
 *             slab is added to the double i mod 4, and the 4 doubles are totalled as above. The values after a slab's last group
 *             of 4, or those of a column, are added to one more double.
 *             At the end n · lo² is subtracted, which leaves the squared deviations from the mean.
 * The blocks of a series are merged in order (Chan, Golub and LeVeque 1983). For a values and b more, the squares are squares_a +
 * (squares_b + δ² · (a · b / (a + b))) with δ = (hi_b − hi_a) + (lo_b − lo_a), and the sum is sum_a + sum_b.
 * The series of a channel are added in order: first their sums; then their squares, each plus n · δ², where δ is the series' mean
 * minus the channel's. The variance is the squares divided by the count, or 0 if that is negative.
 *
 * For the gradient, each block gives Σ g, Σ d and Σ g·d in double, where g is a value of G, and d = x − center. The center is
 * mean_hi, or 0 if that is not finite. Slabs: 4 doubles; value i of a slab is added to the double i mod 4; the total is (0 + 2) +
 * (1 + 3), then plus one more double for the values after a slab's last group of 4. Columns: one double, in the order of the
 * rows. The sums of blocks are added in order, then those of series.
 *
 * x − mean_hi is exact wherever mean_lo matters, which keeps full precision far from zero. docs/numerics.md derives the error
 * bounds. */
#ifndef BN_BATCHNORM_H
#define BN_BATCHNORM_H

#include <stdbool.h>
#include <stddef.h>

/** Positions of a slab in a block. */
#define BN_BLOCK_POSITIONS 4096
/** If slabs have fewer positions than this, a block takes several rows. */
#define BN_SHORT 512
#define BN_SHORT_ROWS 8

/** The numbers of a channel: six doubles, in this order. What the caller sets, it sets before bn_fold. */
typedef struct {
  double gamma, beta; /* set by the caller; bn_fold changes a beta of −0 to 0 */
  double mean_hi;     /* the mean as a float32; for inference, the caller sets it to the mean itself */
  double mean_lo;     /* the mean minus mean_hi, or 0 if that is not finite; for inference, the caller sets it to 0 */
  double variance;    /* biased; for inference, set by the caller */
  double inv_std;     /* 1 / sqrt(variance + epsilon), set by bn_fold */
} bn_channel;

/** The gradient's numbers of a channel: ten doubles, in this order. */
typedef struct {
  double gamma, beta;      /* the gradients of gamma and beta */
  double g_hi, g_lo;       /* the mean of G, in two parts */
  double mean_hi, mean_lo; /* the batch's own mean, in two parts, even if another was given */
  double scale, slope;     /* the factors of (G − its mean) and of (X − mean) */
  double first, uneven;    /* the first value of G, and whether any other differs from it */
} bn_gradient;

/** Adds a piece to the statistics in partial, which already hold `seen` values per series. If `seen` is 0, partial is overwritten.
 * Uses fold as scratch memory. epsilon must be the one given to bn_fold. */
void bn_statistics(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, size_t columns, double epsilon,
                   size_t seen, double *partial, float *fold);

/** Sets mean_hi, mean_lo and variance from the statistics of `count` values per channel. */
void bn_moments(double count, size_t channels, size_t spatial, size_t columns, const double *partial, bn_channel *channel);

/** Sets mean_hi, mean_lo, inv_std and fold from the mean and variance (in training, those of bn_moments). */
void bn_fold(double epsilon, bool training, size_t channels, size_t spatial, size_t columns, bn_channel *channel, float *fold);

/** y ← (x − mean) · inv_std · gamma + beta, over a piece; with relu, not less than 0, and never −0.
 * Let scale = gamma · inv_std and shift = beta − mean_lo · scale. A channel is computed in float32, as (x − mean_hi) · scale + shift,
 * with a shift of −0 taken as 0, if all of these hold:
 *   gamma = 0, or 2⁻¹²⁶ ≤ |scale| ≤ 2¹²⁷
 *   |mean_hi| and |shift| < 2¹⁰²
 *   in training, not 0 < variance < 2⁻²³⁰; in inference, shift is a float32
 * Otherwise it is computed in double and rounded once to float32. In slabs, so are parts of a slab where subnormal numbers would
 * make float32 ten times as slow. A part is BN_BLOCK_POSITIONS long, or shorter at the slab's end. It is computed in double if it
 * has at least 64 positions, and its first 8 values are all nearer to mean_hi than 2⁻¹¹⁵, but not all equal to it. */
void bn_normalize(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride, size_t channels, size_t spatial,
                  size_t columns, bool relu, const bn_channel *channel, const float *fold);

/** Sets `to` to g where y > 0, and to 0 elsewhere, in rows of `width` values. `to` may be g, with the same stride. */
void bn_mask(const float *y, const float *g, float *to, size_t rows, size_t y_stride, size_t g_stride, size_t to_stride,
             size_t width);

/** Adds a piece to the sums in partial, which already hold `seen` values per series. If `seen` is 0, partial is overwritten. fold is
 * the one that bn_fold set. Sets first and uneven. */
void bn_gradient_sums(const float *x, const float *g, size_t rows, size_t x_stride, size_t g_stride, size_t channels,
                      size_t spatial, size_t columns, size_t seen, double *partial, bn_gradient *gradient, const float *fold);

/** Sets the other fields of gradient from the sums of `count` values per channel, and fold after the part that bn_fold set. mean(…) is
 * a sum times 1 / count, which is rounded first.
 *   S         Training: Σ g·d − mean(g) · Σ d, or 0 if all gradients are equal; NaN if Σ g or Σ d is not finite. Inference: Σ g·d
 *             − m · Σ g with m = mean_hi − center + mean_lo; nothing is subtracted if m is 0, or if m is finite and Σ g is not.
 *   gamma     S · inv_std
 *   beta      Σ g
 *   scale     gamma · inv_std, both of bn_channel
 *   slope     scale · ratio, with ratio = mean(S) / (variance + epsilon)
 *   mean_hi   center + mean(d) as a float32
 *   mean_lo   (center − mean_hi) + mean(d)
 *   g_hi      and g_lo: hi and lo of the mean of G, as defined above
 * In inference, only gamma and beta have a meaning. */
void bn_gradient_fold(double count, double epsilon, bool training, size_t channels, size_t spatial, size_t columns,
                      const double *partial, const bn_channel *channel, bn_gradient *gradient, float *fold);

/** y ← (g − mean(g)) · scale − (x − mean) · slope, over a piece.
 * Let constant = scale · (mean_lo · ratio − g_lo). A channel is computed in float32, as
 * ((g − g_hi) · scale + constant) − (x − mean_hi) · slope, if all of these hold:
 *   scale and slope are each 0, or 2⁻¹²⁶ ≤ |…| ≤ 2¹²⁷
 *   |mean_hi|, |g_hi|, |constant| and |slope| · √(count · variance) < 2¹⁰²
 * Otherwise it is computed in double and rounded once to float32. */
void bn_gradient_input(const float *x, const float *g, float *y, size_t rows, size_t x_stride, size_t g_stride, size_t y_stride,
                       size_t channels, size_t spatial, size_t columns, const bn_gradient *gradient, const float *fold);

#endif
