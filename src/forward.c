/* The forward kernels, in the order in which they run: statistics, fold, normalize. batchnorm.h is the manual. */
#include "batchnorm.h"

#include <assert.h>

#include "shared.h"

/* ---- limits: where float32 is too narrow, and double takes over ------------------------------------------------- */

/* Float32 is wide enough for a block's squared deviations if their sum is below MOST_SQUARES and their mean above LEAST_SQUARE. Below
 * LEAST_SQUARE, too much may have underflowed. But if every square underflowed to 0, an epsilon of LEAST_EPSILON or more is so much
 * larger than the squares that they do not matter. */
#define MOST_SQUARES 1e36
#define LEAST_SQUARE 1e-28
#define LEAST_EPSILON 1e-30
/* Processors take 10 times as long for subnormal numbers. They may appear when a deviation below LEAST_SQUARED is squared, or when
 * one below LEAST_SCALED is scaled. LEAST_VARIANCE is the square of LEAST_SCALED. */
#define LEAST_SQUARED 0x1p-45f
#define LEAST_SCALED 0x1p-115f
#define LEAST_VARIANCE 0x1p-230
/* A slab's first PROBED values tell whether its deviations are that small. Shorter slabs than LEAST_PROBED are not worth the check
 * when they are normalized. */
#define PROBED 8
#define LEAST_PROBED 64

/* ---- shared by the steps -------------------------------------------------------------------------------------- */

static inline double squared(double value) { return value * value; }

/* The mean of n values minus another mean. Both are in two parts, because with one double each, the difference could lose all its
 * digits. */
static inline double apart(double sum, double n, double inv_n, float hi, double lo) {
  const float own = mean_hi(sum, inv_n);
  return ((double)own - hi) + (mean_lo(sum, n, inv_n, own) - lo);
}

/* Whether the first PROBED values of a slab are all closer to the center than `limit`, but not all equal to it. */
static __attribute__((noinline)) bool all_tiny(const float *x, float center, float limit) {
  float most = 0;
  for (size_t i = 0; i < PROBED; i++) {
    const float size = __builtin_fabsf(x[i] - center);
    if (!(size < limit)) return false;
    if (size > most) most = size;
  }
  return most > 0;
}

/* Nearly always the first value already shows that it is false. */
static inline bool tiny(const float *x, float center, float limit) {
  return __builtin_fabsf(x[0] - center) < limit && all_tiny(x, center, limit);
}

/* ---- statistics: moments of a block ---------------------------------------------------------------------------- */

static inline float squared_deviation(float x, float center) {
  const float d = x - center;
  return d * d;
}

/* The pairwise tree: each level adds two of the level below. */
static inline f32x4 squares_of_4(const float *x, f32x4 center_f32x4) {
  const f32x4 d_f32x4 = load_f32x4(x) - center_f32x4;
  return d_f32x4 * d_f32x4;
}
static inline f32x4 squares_of_8(const float *x, f32x4 center_f32x4) {
  return squares_of_4(x, center_f32x4) + squares_of_4(x + 4, center_f32x4);
}
static inline f32x4 squares_of_16(const float *x, f32x4 center_f32x4) {
  return squares_of_8(x, center_f32x4) + squares_of_8(x + 8, center_f32x4);
}
static inline void add_lanes(f64x2 sum_f64x2[2], f32x4 value_f32x4) {
  sum_f64x2[0] += widen_low_f32x4(value_f32x4);
  sum_f64x2[1] += widen_high_f32x4(value_f32x4);
}

/* The squared deviations in double: of slabs of n positions, or of a column, if n is 1. */
static __attribute__((noinline)) double squares_f64(const float *x, size_t rows, size_t stride, size_t n, float center) {
  const f64x2 center_f64x2 = splat_f64x2(center);
  f64x2 sum01_f64x2 = splat_f64x2(0), sum23_f64x2 = sum01_f64x2;
  double rest = 0;
  for (size_t row = 0; row < rows; row++) {
    const float *slab = x + row * stride;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      const f64x2 d01_f64x2 = widen_f32x2(slab + i) - center_f64x2, d23_f64x2 = widen_f32x2(slab + i + 2) - center_f64x2;
      sum01_f64x2 += d01_f64x2 * d01_f64x2;
      sum23_f64x2 += d23_f64x2 * d23_f64x2;
    }
    for (; i < n; i++) rest += squared(slab[i] - (double)center);
  }
  sum01_f64x2 += sum23_f64x2;
  return (sum01_f64x2[0] + sum01_f64x2[1]) + rest;
}

/* Turns the sum of squared deviations from a center into that from the mean. If float32 was too narrow, sums them again in double
 * first. */
static inline double settle(double squares, double epsilon, const float *x, size_t rows, size_t stride, size_t n, double sum,
                            float center, double inv_count) {
  const double count = (double)(rows * n);
  const bool hidden = squares == 0 && epsilon >= LEAST_EPSILON;
  if (!hidden && !(squares < MOST_SQUARES && squares > count * LEAST_SQUARE)) squares = squares_f64(x, rows, stride, n, center);
  return squares - count * squared(mean_lo(sum, count, inv_count, center));
}

static double sum_slabs(const float *x, size_t rows, size_t stride, size_t n) {
  f64x2 sum01_f64x2 = splat_f64x2(0), sum23_f64x2 = sum01_f64x2, sum45_f64x2 = sum01_f64x2, sum67_f64x2 = sum01_f64x2;
  double rest = 0;
  for (size_t row = 0; row < rows; row++) {
    const float *slab = x + row * stride;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      sum01_f64x2 += widen_f32x2(slab + i);
      sum23_f64x2 += widen_f32x2(slab + i + 2);
      sum45_f64x2 += widen_f32x2(slab + i + 4);
      sum67_f64x2 += widen_f32x2(slab + i + 6);
    }
    if (n & 4) {
      sum01_f64x2 += widen_f32x2(slab + i);
      sum23_f64x2 += widen_f32x2(slab + i + 2);
      i += 4;
    }
    for (; i < n; i++) rest += slab[i];
  }
  sum01_f64x2 = (sum01_f64x2 + sum23_f64x2) + (sum45_f64x2 + sum67_f64x2);
  return (sum01_f64x2[0] + sum01_f64x2[1]) + rest;
}

static double squares_slabs(const float *x, size_t rows, size_t stride, size_t n, float center) {
  const f32x4 center_f32x4 = splat_f32x4(center);
  f64x2 sum_f64x2[2] = {splat_f64x2(0), splat_f64x2(0)};
  double rest = 0;
  for (size_t row = 0; row < rows; row++) {
    const float *slab = x + row * stride;
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
      add_lanes(sum_f64x2, squares_of_16(slab + i, center_f32x4) + squares_of_16(slab + i + 16, center_f32x4));
    for (; i + 16 <= n; i += 16) add_lanes(sum_f64x2, squares_of_16(slab + i, center_f32x4));
    for (; i + 4 <= n; i += 4) add_lanes(sum_f64x2, squares_of_4(slab + i, center_f32x4));
    for (; i < n; i++) rest += squared_deviation(slab[i], center);
  }
  sum_f64x2[0] += sum_f64x2[1];
  return (sum_f64x2[0][0] + sum_f64x2[0][1]) + rest;
}

static void moments_of_slabs(const float *x, size_t rows, size_t stride, size_t n, double epsilon, double *sum, double *m2) {
  *sum = sum_slabs(x, rows, stride, n);
  const double inv_count = 1 / (double)(rows * n);
  const float center = mean_hi(*sum, inv_count);
  /* NaN makes settle() use double. */
  const bool small = n >= PROBED && tiny(x, center, LEAST_SQUARED);
  const double squares = small ? __builtin_nan("") : squares_slabs(x, rows, stride, n, center);
  *m2 = settle(squares, epsilon, x, rows, stride, n, *sum, center, inv_count);
}

/* ---- statistics: moments of a block, across columns -------------------------------------------------------------- */

static inline void add_4(double *sum, f32x4 value_f32x4) {
  store_f64x2(sum, load_f64x2(sum) + widen_low_f32x4(value_f32x4));
  store_f64x2(sum + 2, load_f64x2(sum + 2) + widen_high_f32x4(value_f32x4));
}

/* A row of a block; after the last one, a row that adds nothing to the sums. */
static inline const float *row_or(const float *nothing, const float *x, size_t row, size_t rows, size_t stride) {
  return row < rows ? x + row * stride : nothing;
}

/* Four rows at a time, so that each sum is loaded and stored once per four values. */
static void moments_of_columns(const float *restrict x, size_t rows, size_t stride, size_t width, double epsilon,
                               double *restrict sum, double *restrict m2, float *restrict center) {
  const double inv_rows = 1 / (double)rows;
  float *zeros = center + width;
  for (size_t j = 0; j < width; j++) sum[j] = m2[j] = zeros[j] = 0;
  for (size_t row = 0; row < rows; row += 4) {
    const float *x0 = x + row * stride, *x1 = row_or(zeros, x, row + 1, rows, stride),
                *x2 = row_or(zeros, x, row + 2, rows, stride), *x3 = row_or(zeros, x, row + 3, rows, stride);
    size_t j = 0;
    for (; j + 2 <= width; j += 2) {
      f64x2 sum_f64x2 = load_f64x2(sum + j);
      sum_f64x2 += widen_f32x2(x0 + j);
      sum_f64x2 += widen_f32x2(x1 + j);
      sum_f64x2 += widen_f32x2(x2 + j);
      sum_f64x2 += widen_f32x2(x3 + j);
      store_f64x2(sum + j, sum_f64x2);
    }
    if (j < width) sum[j] = (((sum[j] + x0[j]) + x1[j]) + x2[j]) + x3[j];
  }
  for (size_t j = 0; j < width; j++) {
    center[j] = mean_hi(sum[j], inv_rows);
    /* If the first deviation is that small, NaN makes settle() use double for the column. */
    const float d = __builtin_fabsf(x[j] - center[j]);
    if (d > 0 && d < LEAST_SQUARED) center[j] = __builtin_nanf("");
  }
  for (size_t row = 0; row < rows; row += 4) {
    const float *x0 = x + row * stride, *x1 = row_or(center, x, row + 1, rows, stride),
                *x2 = row_or(center, x, row + 2, rows, stride), *x3 = row_or(center, x, row + 3, rows, stride);
    size_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const f32x4 center_f32x4 = load_f32x4(center + j);
      add_4(m2 + j, (squares_of_4(x0 + j, center_f32x4) + squares_of_4(x1 + j, center_f32x4)) +
                        (squares_of_4(x2 + j, center_f32x4) + squares_of_4(x3 + j, center_f32x4)));
    }
    for (; j < width; j++)
      m2[j] += (squared_deviation(x0[j], center[j]) + squared_deviation(x1[j], center[j])) +
               (squared_deviation(x2[j], center[j]) + squared_deviation(x3[j], center[j]));
  }
  for (size_t j = 0; j < width; j++)
    m2[j] = settle(m2[j], epsilon, x + j, rows, stride, 1, sum[j], mean_hi(sum[j], inv_rows), inv_rows);
}

/* ---- statistics: blocks merged --------------------------------------------------------------------------------- */

/* Merges the sums of n more values per series into those of the values seen so far. The sums are that of the values, and that of
 * their squared deviations from their own mean (Chan, Golub and LeVeque 1983). */
static void merge(double *restrict sum, double *restrict m2, double seen, const double *restrict more_sum,
                  const double *restrict more_m2, double n, size_t series) {
  const double inv_seen = 1 / seen, inv_n = 1 / n, weight = seen * n / (seen + n);
  for (size_t j = 0; j < series; j++) {
    const float hi = mean_hi(sum[j], inv_seen);
    const double lo = mean_lo(sum[j], seen, inv_seen, hi);
    m2[j] += more_m2[j] + squared(apart(more_sum[j], n, inv_n, hi, lo)) * weight;
    sum[j] += more_sum[j];
  }
}

void bn_statistics(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, size_t columns, double epsilon,
                   size_t seen, double *partial, float *fold) {
  const size_t series = columns ? channels * spatial : channels;
  const size_t height = block_height(spatial, columns);
  assert(rows > 0 && channels > 0 && spatial > 0 && (rows == 1 || stride >= channels * spatial));
  assert(!columns || spatial <= BN_BLOCK_POSITIONS);
  assert(seen % (columns ? height : spatial < BN_SHORT && rows > 1 ? height * spatial : 1) == 0);
  for (size_t row = 0; row < rows; row += height)
    for (size_t p = 0; p < spatial; p += BN_BLOCK_POSITIONS) {
      const float *block = x + row * stride + p;
      const size_t block_rows = smaller(rows - row, height), positions = smaller(spatial - p, BN_BLOCK_POSITIONS);
      const size_t n = columns ? block_rows : block_rows * positions;
      /* The first block's sums are the totals; those of later blocks go behind the totals, to be merged. */
      double *sum = seen ? partial + 2 * series : partial, *m2 = sum + series;
      if (columns)
        moments_of_columns(block, block_rows, stride, series, epsilon, sum, m2, fold);
      else
        for (size_t c = 0; c < channels; c++)
          moments_of_slabs(block + c * spatial, block_rows, stride, positions, epsilon, sum + c, m2 + c);
      if (seen) merge(partial, partial + series, (double)seen, sum, m2, (double)n, series);
      seen += n;
    }
}

__attribute__((minsize)) void bn_moments(double count, size_t channels, size_t spatial, size_t columns, const double *partial,
                                         bn_channel *channel) {
  const size_t copies = columns ? spatial : 1;
  const double n = count / (double)copies, inv_n = 1 / n, inv_count = 1 / count;
  for (size_t c = 0; c < channels; c++) {
    const double *sum = partial + c * copies, *m2 = sum + channels * copies;
    double total = 0, squares = 0;
    for (size_t i = 0; i < copies; i++) total += sum[i];
    const float hi = mean_hi(total, inv_count);
    const double lo = mean_lo(total, count, inv_count, hi);
    for (size_t i = 0; i < copies; i++) squares += m2[i] + n * squared(apart(sum[i], n, inv_n, hi, lo));
    channel[c].mean_hi = hi;
    channel[c].mean_lo = is_finite(lo) ? lo : 0;
    channel[c].variance = squares < 0 ? 0 : squares / count;
  }
}

/* ---- fold ------------------------------------------------------------------------------------------------------ */

__attribute__((minsize)) void bn_fold(double epsilon, bool training, size_t channels, size_t spatial, size_t columns,
                                      bn_channel *channel, float *fold) {
  /* Columns need one copy per position, so that a vector load gets the numbers of each lane's channel. */
  const size_t copies = columns ? spatial : 1, step = channels * copies;
  for (size_t c = 0; c < channels; c++, channel++) {
    const float hi = (float)channel->mean_hi;
    if (is_finite(hi)) {
      channel->mean_lo += channel->mean_hi - hi;
      channel->mean_hi = hi;
    }
    /* Adding 0, here and below, turns −0 into 0, so that no output of relu is −0. */
    channel->beta += 0;
    channel->inv_std = 1 / __builtin_sqrt(channel->variance + epsilon);
    const double scale = channel->gamma * channel->inv_std;
    const double shift = channel->beta - channel->mean_lo * scale;
    const bool in_float = (channel->gamma == 0 || is_scale(scale)) && is_shift(channel->mean_hi) && is_shift(shift) &&
                          (training ? !(channel->variance > 0 && channel->variance < LEAST_VARIANCE) : shift == (float)shift);
    for (size_t i = c * copies; i < (c + 1) * copies; i++) {
      fold[i] = is_finite(hi) ? hi : 0;
      fold[i + step] = in_float ? (float)scale : __builtin_nanf("");
      fold[i + 2 * step] = (float)shift + 0;
    }
  }
}

/* ---- normalize ------------------------------------------------------------------------------------------------- */

/* The lower bound of the outputs. */
static inline float least_of(bool relu) { return relu ? 0 : -__builtin_inff(); }

static void normalize_f64(const float *x, float *y, size_t n, const bn_channel *channel, bool relu) {
  const f64x2 mean_hi_f64x2 = splat_f64x2(channel->mean_hi), mean_lo_f64x2 = splat_f64x2(channel->mean_lo);
  const f64x2 inv_std_f64x2 = splat_f64x2(channel->inv_std), gamma_f64x2 = splat_f64x2(channel->gamma);
  const f64x2 beta_f64x2 = splat_f64x2(channel->beta);
  const f64x2 least_f64x2 = splat_f64x2(least_of(relu));
  for (size_t i = 0; i < n; i += 2) {
    /* An odd last value is in both lanes. */
    const f64x2 x_f64x2 = i + 2 <= n ? widen_f32x2(x + i) : splat_f64x2(x[i]);
    const f64x2 y_f64x2 =
        larger_f64x2(((x_f64x2 - mean_hi_f64x2) - mean_lo_f64x2) * inv_std_f64x2 * gamma_f64x2 + beta_f64x2, least_f64x2);
    if (i + 2 <= n)
      store_narrow_f64x2(y + i, y_f64x2);
    else
      y[i] = (float)y_f64x2[0];
  }
}

static inline f32x4 normalized(f32x4 x_f32x4, f32x4 center_f32x4, f32x4 scale_f32x4, f32x4 shift_f32x4) {
  return (x_f32x4 - center_f32x4) * scale_f32x4 + shift_f32x4;
}

static inline void normalize_4(const float *x, float *y, f32x4 center_f32x4, f32x4 scale_f32x4, f32x4 shift_f32x4, bool relu) {
  const f32x4 y_f32x4 = normalized(load_f32x4(x), center_f32x4, scale_f32x4, shift_f32x4);
  store_f32x4(y, relu ? larger_f32x4(y_f32x4, splat_f32x4(0)) : y_f32x4);
}

/* Callers pass relu as a constant, so that it is compiled away: without relu the loop is a sixth shorter. */
static inline __attribute__((always_inline)) void normalize_slab(const float *x, float *y, size_t n, float center, float scale,
                                                                 float shift, bool relu) {
  const f32x4 center_f32x4 = splat_f32x4(center), scale_f32x4 = splat_f32x4(scale), shift_f32x4 = splat_f32x4(shift);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    normalize_4(x + i, y + i, center_f32x4, scale_f32x4, shift_f32x4, relu);
    normalize_4(x + i + 4, y + i + 4, center_f32x4, scale_f32x4, shift_f32x4, relu);
    normalize_4(x + i + 8, y + i + 8, center_f32x4, scale_f32x4, shift_f32x4, relu);
    normalize_4(x + i + 12, y + i + 12, center_f32x4, scale_f32x4, shift_f32x4, relu);
  }
  for (; i + 4 <= n; i += 4) normalize_4(x + i, y + i, center_f32x4, scale_f32x4, shift_f32x4, relu);
  /* Vectors for single values: a scalar comparison would compile to a branch, which is often mispredicted. */
  for (; i < n; i++) {
    const float value = (x[i] - center) * scale + shift;
    y[i] = relu ? larger_f32x4(splat_f32x4(value), splat_f32x4(0))[0] : value;
  }
}

/* Several slabs per row, `spacing` values apart, of n positions each. Each has its own numbers. */
static __attribute__((noinline)) void normalize_slabs(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride,
                                                      size_t slabs, size_t spacing, size_t n, const bn_channel *channel,
                                                      const float *center, const float *scale, const float *shift, bool relu) {
  for (size_t row = 0; row < rows; row++)
    for (size_t c = 0; c < slabs; c++) {
      const float *from = x + row * x_stride + c * spacing;
      float *to = y + row * y_stride + c * spacing;
      if (in_double(scale[c]) || (n >= LEAST_PROBED && tiny(from, center[c], LEAST_SCALED)))
        normalize_f64(from, to, n, channel + c, relu);
      else if (relu)
        normalize_slab(from, to, n, center[c], scale[c], shift[c], true);
      else
        normalize_slab(from, to, n, center[c], scale[c], shift[c], false);
    }
}

/* The width is a multiple of 4. Two rows at a time; the last two may be the same row, so both are loaded before either is stored. */
static void normalize_columns(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride, size_t width,
                              const float *center, const float *scale, const float *shift, bool relu) {
  const f32x4 least_f32x4 = splat_f32x4(least_of(relu));
  for (size_t row = 0; row < rows; row += 2) {
    const size_t next = smaller(row + 1, rows - 1);
    const float *x0 = x + row * x_stride, *x1 = x + next * x_stride;
    float *y0 = y + row * y_stride, *y1 = y + next * y_stride;
    for (size_t j = 0; j < width; j += 4) {
      const f32x4 center_f32x4 = load_f32x4(center + j), scale_f32x4 = load_f32x4(scale + j), shift_f32x4 = load_f32x4(shift + j);
      const f32x4 x0_f32x4 = load_f32x4(x0 + j), x1_f32x4 = load_f32x4(x1 + j);
      store_f32x4(y0 + j, larger_f32x4(normalized(x0_f32x4, center_f32x4, scale_f32x4, shift_f32x4), least_f32x4));
      store_f32x4(y1 + j, larger_f32x4(normalized(x1_f32x4, center_f32x4, scale_f32x4, shift_f32x4), least_f32x4));
    }
  }
}

void bn_normalize(const float *x, float *y, size_t rows, size_t x_stride, size_t y_stride, size_t channels, size_t spatial,
                  size_t columns, bool relu, const bn_channel *channel, const float *fold) {
  assert(rows > 0 && channels > 0 && spatial > 0 && (x != y || x_stride == y_stride));
  const size_t step = columns ? channels * spatial : channels;
  const float *center = fold, *scale = fold + step, *shift = fold + 2 * step;
  if (!columns) {
    for (size_t p = 0; p < spatial; p += BN_BLOCK_POSITIONS)
      normalize_slabs(x + p, y + p, rows, x_stride, y_stride, channels, spatial, smaller(spatial - p, BN_BLOCK_POSITIONS),
                      channel, center, scale, shift, relu);
    return;
  }
  for (size_t c = 0; c < channels;) {
    /* Adjacent channels in float32 go together. The columns after the last group of four are treated as slabs of one position. */
    const size_t end = next_in_double(scale, c, channels, spatial);
    const size_t j = c * spatial, width = (end - c) * spatial, whole = width & ~(size_t)3, tail = j + whole;
    normalize_columns(x + j, y + j, rows, x_stride, y_stride, whole, center + j, scale + j, shift + j, relu);
    normalize_slabs(x + tail, y + tail, rows, x_stride, y_stride, width - whole, 1, 1, channel, center + tail, scale + tail,
                    shift + tail, relu);
    /* The channel that ended the run is computed in double. */
    if (end < channels) {
      const size_t last = end * spatial;
      normalize_slabs(x + last, y + last, rows, x_stride, y_stride, 1, spatial, spatial, channel + end, center + last,
                      scale + last, shift + last, relu);
    }
    c = end + 1;
  }
}
