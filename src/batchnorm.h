/* The contract of the kernels: batch normalization of float32 tensors laid out batch, channels, spatial.
 *
 * Terms. X holds batch × channels × spatial values, spatial (H·W) contiguous. A slab is the spatial values of one
 * channel in one image. A row is one image's slabs of a range of channels, side by side. A block is some rows of such a
 * range, `stride` values from the start of one row to the start of the next; its slabs may be pieces, all positions
 * from a multiple of 64 up to another one or to the slab's end. `count` is batch · spatial, the values of a channel.
 *
 * Use. For a range of channels, each step over all its blocks in the order of the batch before the next; if its whole
 * batch is in memory, that is one block. Training: bn_sum, bn_mean, bn_squares, bn_fold_batch (if that asks for it,
 * bn_squares_f64 and bn_fold_batch once more), bn_normalize. Inference: bn_fold_running, bn_normalize.
 * Where a pass over all blocks is dear, a guess of the means saves one: the caller sets the start of fold to it, and takes
 * bn_sum and bn_squares, with partial sums of its own, in one pass, before bn_mean. bn_squares_f64 mends a bad guess.
 * Whether there is one follows from (batch, channels, spatial) alone, and what it is from the values alone.
 *
 * Memory. All sizes count elements. Nothing is allocated, nothing can fail, no state is kept: the caller lends
 *   partial   BN_LANES doubles a channel, or in columns spatial doubles a channel; zero before the first bn_sum
 *   channel   one bn_channel a channel
 *   fold      3 floats a channel, or in columns 3 · spatial floats a channel: what the hot loops read
 * and X, which bn_normalize overwrites in place. None may overlap another. Doubles are aligned to 8 bytes, floats to 4.
 *
 * Layout. Two ways through a block, chosen by the caller from (batch, channels, spatial) of the whole tensor alone:
 *   slabs     lanes along a slab
 *   columns   lanes across the channels and positions of a row, each (channel, position) a column of its own: for slabs
 *             too short to fill vectors. A block then has whole slabs only, and a multiple of 4 rows unless it is the
 *             last of the batch.
 *
 * Rounding. Arithmetic is IEEE 754, each operation rounded once, none fused (compile with -ffp-contract=off), so that a
 * result has the same bits on every machine and engine, however a tensor is cut into ranges and blocks (any NaN equals
 * any other). Part of the contract is the order of summation:
 *   slabs     sum: 8 doubles, value i of a slab added to the double i mod 8, slabs in the order of the batch;
 *             squared deviations: float32, each 64 values a pairwise tree of their 16 vectors of 4, that is vectors 2k
 *             and 2k + 1, then the sums of these likewise, 4 levels; its four lanes added to doubles 0 to 3. The rest of
 *             a slab in trees of 32, 16, 8 and 4 values, then singly, value i to the double i mod 4.
 *   columns   sum: a double a column, rows in the order of the batch;
 *             squared deviations: float32, four rows at a time as (d0² + d1²) + (d2² + d3²), added to a double a column;
 *             the rows after the last four singly.
 *   both      then the doubles of a channel in their order.
 * The mean is kept as a float32, mean_hi, and what is left of it, mean_lo, a double: x − mean_hi is exact wherever
 * mean_lo matters, which is what keeps full precision far from zero. docs/numerics.md derives the error bounds. */
#ifndef BN_BATCHNORM_H
#define BN_BATCHNORM_H

#include <stdbool.h>
#include <stddef.h>

/** Partial sums of a channel in slabs. */
#define BN_LANES 8

/** The variance of a channel whose squared deviations are to be summed again, by bn_squares_f64. */
#define BN_REDO (-1.0)

/** A channel's numbers: six doubles, in this order. */
typedef struct {
  double gamma, beta; /* set by the caller */
  double mean_hi;     /* the mean's float32; set by bn_mean, or by the caller, then to the whole mean, before bn_fold_running */
  double mean_lo;     /* the mean less mean_hi, 0 unless finite */
  double variance;    /* biased; set by bn_fold_batch, or by the caller before bn_fold_running */
  double inv_std;     /* 1 / sqrt(variance + epsilon) */
} bn_channel;

/** Adds the values of a block to the partial sums. */
void bn_sum(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, double *partial);

/** Partial sums over the whole batch → the means, in channel and, unless guesses are there, at the start of fold. Leaves
 * partial zero. */
void bn_mean(double *partial, double count, bool guessed, size_t channels, size_t spatial, bool columns, bn_channel *channel,
             float *fold);

/** Adds the squared deviations of a block's values, from the means, or guesses, at the start of fold, to the partial sums, in
 * float32 trees. */
void bn_squares(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, const float *fold,
                double *partial);

/** The same in double throughout, for the channels whose variance is BN_REDO alone: value i of a slab to the double
 * i mod 4, in columns each to its own. */
void bn_squares_f64(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns,
                    const bn_channel *channel, double *partial);

/** Partial sums of squared deviations → variance, inv_std and fold. Returns how many channels float32 was too narrow
 * for (sums near its limits, or so small that they may have vanished and no epsilon hides it) or whose guessed mean was
 * off by a quarter of the deviation. Their variance is BN_REDO and their partial sums are zero: call bn_squares_f64, then
 * this once more, `redone`, for them alone. */
size_t bn_fold_batch(double *partial, double count, double epsilon, bool redone, size_t channels, size_t spatial, bool columns,
                     bn_channel *channel, float *fold);

/** Given mean (in mean_hi) and variance → mean_hi, mean_lo, inv_std and fold. */
void bn_fold_running(double epsilon, size_t channels, size_t spatial, bool columns, bn_channel *channel, float *fold);

/** x ← (x − mean) · inv_std · gamma + beta, over a block. In float32, as (x − mean_hi) · scale + shift, wherever the
 * bounds of docs/numerics.md allow; else, channel by channel, in double with one rounding. */
void bn_normalize(float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, const bn_channel *channel,
                  const float *fold);

#endif
