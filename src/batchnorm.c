/* The kernels in the order in which a block of X meets them: statistics, fold, normalize. batchnorm.h is the manual. */
#include "batchnorm.h"
#include "simd.h"

/* ---- what the steps share -------------------------------------------------------------------------------------- */

/* How many partial sums a channel has: one a position in columns, the lanes of a slab elsewhere. */
static inline size_t partials(size_t spatial, bool columns) { return columns ? spatial : BN_LANES; }

/* How many copies of a folded number a channel has: columns want one under each of their lanes. */
static inline size_t copies(size_t spatial, bool columns) { return columns ? spatial : 1; }

static inline void clear(double *partial, size_t n) {
  for (size_t i = 0; i < n; i++) partial[i] = 0;
}

static inline double total(const double *partial, size_t n) {
  double sum = partial[0];
  for (size_t i = 1; i < n; i++) sum += partial[i];
  return sum;
}

static inline bool is_finite(double value) { return value - value == 0; }

/* A folded scale of NaN sends its channel to the normalize step in double. */
static inline bool in_double(float scale) { return scale != scale; }

/* ---- statistics: the sum --------------------------------------------------------------------------------------- */

static void sum_slabs(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, double *partial) {
  for (; rows > 0; rows--, x += stride) {
    const float *slab = x;
    for (size_t c = 0; c < channels; c++, slab += spatial) {
      double *lane = partial + BN_LANES * c;
      f64x2 sum01_f64x2 = load_f64x2(lane), sum23_f64x2 = load_f64x2(lane + 2);
      f64x2 sum45_f64x2 = load_f64x2(lane + 4), sum67_f64x2 = load_f64x2(lane + 6);
      size_t i = 0;
      for (; i + 8 <= spatial; i += 8) {
        sum01_f64x2 += widen_f32x2(slab + i);
        sum23_f64x2 += widen_f32x2(slab + i + 2);
        sum45_f64x2 += widen_f32x2(slab + i + 4);
        sum67_f64x2 += widen_f32x2(slab + i + 6);
      }
      if (spatial & 4) {
        sum01_f64x2 += widen_f32x2(slab + i);
        sum23_f64x2 += widen_f32x2(slab + i + 2);
      }
      store_f64x2(lane, sum01_f64x2);
      store_f64x2(lane + 2, sum23_f64x2);
      store_f64x2(lane + 4, sum45_f64x2);
      store_f64x2(lane + 6, sum67_f64x2);
      for (i = spatial & ~(size_t)3; i < spatial; i++) lane[i % 8] += slab[i];
    }
  }
}

static void sum_columns(const float *x, size_t rows, size_t stride, size_t columns, double *partial) {
  for (size_t j = columns & ~(size_t)1; j < columns; j++)
    for (size_t row = 0; row < rows; row++) partial[j] += x[row * stride + j];
  for (; rows >= 4; rows -= 4, x += 4 * stride) {
    const float *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    for (size_t j = 0; j + 2 <= columns; j += 2) {
      f64x2 sum_f64x2 = load_f64x2(partial + j);
      sum_f64x2 += widen_f32x2(x + j);
      sum_f64x2 += widen_f32x2(x1 + j);
      sum_f64x2 += widen_f32x2(x2 + j);
      sum_f64x2 += widen_f32x2(x3 + j);
      store_f64x2(partial + j, sum_f64x2);
    }
  }
  for (; rows > 0; rows--, x += stride)
    for (size_t j = 0; j + 2 <= columns; j += 2) store_f64x2(partial + j, load_f64x2(partial + j) + widen_f32x2(x + j));
}

void bn_sum(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, double *partial) {
  if (columns)
    sum_columns(x, rows, stride, channels * spatial, partial);
  else
    sum_slabs(x, rows, stride, channels, spatial, partial);
}

void bn_mean(double *partial, double count, bool guessed, size_t channels, size_t spatial, bool columns, bn_channel *channel,
             float *fold) {
  const size_t n = partials(spatial, columns), m = copies(spatial, columns);
  const double inv_count = 1 / count;
  for (size_t c = 0; c < channels; c++, channel++, partial += n, fold += m) {
    const double sum = total(partial, n);
    const float mean = (float)(sum * inv_count);
    const double rest = (sum - count * mean) * inv_count;
    channel->mean_hi = mean;
    channel->mean_lo = is_finite(rest) ? rest : 0;
    if (!guessed)
      for (size_t i = 0; i < m; i++) fold[i] = mean;
    clear(partial, n);
  }
}

/* ---- statistics: the squared deviations ------------------------------------------------------------------------ */

static inline float square(float x, float center) {
  const float d = x - center;
  return d * d;
}

/* The pairwise tree, written as it sums: each of these is the sum of two of half its size. */
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
static inline f32x4 squares_of_32(const float *x, f32x4 center_f32x4) {
  return squares_of_16(x, center_f32x4) + squares_of_16(x + 16, center_f32x4);
}

static inline void add_lanes(f64x2 sum_f64x2[2], f32x4 value_f32x4) {
  sum_f64x2[0] += widen_low_f32x4(value_f32x4);
  sum_f64x2[1] += widen_high_f32x4(value_f32x4);
}

static void squares_slabs(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, const float *center,
                          double *partial) {
  for (; rows > 0; rows--, x += stride) {
    const float *slab = x;
    for (size_t c = 0; c < channels; c++, slab += spatial) {
      double *lane = partial + BN_LANES * c;
      const f32x4 center_f32x4 = splat_f32x4(center[c]);
      f64x2 sum_f64x2[2] = {load_f64x2(lane), load_f64x2(lane + 2)};
      size_t i = 0;
      for (; i + 64 <= spatial; i += 64) {
        /* Through memory, or V8 (to version 12) loads all 16 vectors before it uses one, and runs out of registers. */
        volatile f32x4 half_f32x4 = squares_of_32(slab + i, center_f32x4);
        add_lanes(sum_f64x2, half_f32x4 + squares_of_32(slab + i + 32, center_f32x4));
      }
      if (spatial & 32) {
        add_lanes(sum_f64x2, squares_of_32(slab + i, center_f32x4));
        i += 32;
      }
      if (spatial & 16) {
        add_lanes(sum_f64x2, squares_of_16(slab + i, center_f32x4));
        i += 16;
      }
      if (spatial & 8) {
        add_lanes(sum_f64x2, squares_of_8(slab + i, center_f32x4));
        i += 8;
      }
      if (spatial & 4) {
        add_lanes(sum_f64x2, squares_of_4(slab + i, center_f32x4));
        i += 4;
      }
      store_f64x2(lane, sum_f64x2[0]);
      store_f64x2(lane + 2, sum_f64x2[1]);
      for (; i < spatial; i++) lane[i % 4] += square(slab[i], center[c]);
    }
  }
}

static inline void add_columns(double *partial, f32x4 value_f32x4) {
  store_f64x2(partial, load_f64x2(partial) + widen_low_f32x4(value_f32x4));
  store_f64x2(partial + 2, load_f64x2(partial + 2) + widen_high_f32x4(value_f32x4));
}

static void squares_columns(const float *x, size_t rows, size_t stride, size_t columns, const float *center, double *partial) {
  for (; rows >= 4; rows -= 4, x += 4 * stride) {
    const float *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    size_t j = 0;
    for (; j + 4 <= columns; j += 4) {
      const f32x4 center_f32x4 = load_f32x4(center + j);
      add_columns(partial + j, (squares_of_4(x + j, center_f32x4) + squares_of_4(x1 + j, center_f32x4)) +
                                   (squares_of_4(x2 + j, center_f32x4) + squares_of_4(x3 + j, center_f32x4)));
    }
    for (; j < columns; j++) {
      const float m = center[j];
      partial[j] += (square(x[j], m) + square(x1[j], m)) + (square(x2[j], m) + square(x3[j], m));
    }
  }
  for (; rows > 0; rows--, x += stride) {
    size_t j = 0;
    for (; j + 4 <= columns; j += 4) add_columns(partial + j, squares_of_4(x + j, load_f32x4(center + j)));
    for (; j < columns; j++) partial[j] += square(x[j], center[j]);
  }
}

void bn_squares(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, const float *fold,
                double *partial) {
  if (columns)
    squares_columns(x, rows, stride, channels * spatial, fold, partial);
  else
    squares_slabs(x, rows, stride, channels, spatial, fold, partial);
}

void bn_squares_f64(const float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns,
                    const bn_channel *channel, double *partial) {
  const size_t n = partials(spatial, columns);
  for (; rows > 0; rows--, x += stride)
    for (size_t c = 0; c < channels; c++) {
      if (channel[c].variance != BN_REDO) continue;
      const float *slab = x + c * spatial;
      const double mean = channel[c].mean_hi;
      double *lane = partial + c * n;
      size_t i = 0;
      if (!columns) {
        const f64x2 mean_f64x2 = splat_f64x2(mean);
        f64x2 sum01_f64x2 = load_f64x2(lane), sum23_f64x2 = load_f64x2(lane + 2);
        for (; i + 4 <= spatial; i += 4) {
          const f64x2 d01_f64x2 = widen_f32x2(slab + i) - mean_f64x2, d23_f64x2 = widen_f32x2(slab + i + 2) - mean_f64x2;
          sum01_f64x2 += d01_f64x2 * d01_f64x2;
          sum23_f64x2 += d23_f64x2 * d23_f64x2;
        }
        store_f64x2(lane, sum01_f64x2);
        store_f64x2(lane + 2, sum23_f64x2);
      }
      for (; i < spatial; i++) {
        const double d = slab[i] - mean;
        lane[columns ? i : i % 4] += d * d;
      }
    }
}

/* ---- fold ------------------------------------------------------------------------------------------------------ */

/* Not inlined, to be in the binary once: a call a channel costs nothing beside its values. */
static __attribute__((noinline)) void fold_channel(double epsilon, bool training, bn_channel *channel, float *center, size_t step,
                                                   size_t n) {
  channel->inv_std = 1 / __builtin_sqrt(channel->variance + epsilon);
  const double scale = channel->gamma * channel->inv_std;
  const double shift = channel->beta - channel->mean_lo * scale;
  const double size = __builtin_fabs(scale);
  const bool in_float = (channel->gamma == 0 || (size >= 0x1p-126 && size <= 0x1p127)) &&
                        __builtin_fabs(channel->mean_hi) < 0x1p102 && __builtin_fabs(shift) < 0x1p102 &&
                        (training || shift == (float)shift);
  for (size_t i = 0; i < n; i++) {
    center[i] = (float)channel->mean_hi;
    center[i + step] = in_float ? (float)scale : __builtin_nanf("");
    center[i + 2 * step] = (float)shift;
  }
}

size_t bn_fold_batch(double *partial, double count, double epsilon, bool redone, size_t channels, size_t spatial, bool columns,
                     bn_channel *channel, float *fold) {
  const size_t n = partials(spatial, columns), m = copies(spatial, columns);
  const double inv_count = 1 / count;
  size_t redo = 0;
  for (size_t c = 0; c < channels; c++, partial += n, channel++, fold += m) {
    if (redone && channel->variance != BN_REDO) continue;
    /* What was subtracted is a guess if it is apart from mean_hi. */
    const double apart = redone ? 0 : channel->mean_hi - *fold, off = apart + channel->mean_lo;
    const double excess = count * off * off, m2 = total(partial, n) - excess;
    const bool bad_guess = apart != 0 && !(excess < m2 * 0x1p-4);
    if (!redone && (!(m2 < 1e36) || bad_guess || (epsilon < 1e-30 && !(m2 > count * 1e-28)))) {
      channel->variance = BN_REDO;
      clear(partial, n);
      redo++;
    } else {
      channel->variance = m2 < 0 ? 0 : m2 * inv_count;
      fold_channel(epsilon, true, channel, fold, channels * m, m);
    }
  }
  return redo;
}

void bn_fold_running(double epsilon, size_t channels, size_t spatial, bool columns, bn_channel *channel, float *fold) {
  const size_t m = copies(spatial, columns);
  for (size_t c = 0; c < channels; c++, channel++, fold += m) {
    const double mean = channel->mean_hi;
    const float rounded = (float)mean;
    if (is_finite(rounded)) channel->mean_hi = rounded;
    channel->mean_lo = is_finite(rounded) ? mean - rounded : 0;
    fold_channel(epsilon, false, channel, fold, channels * m, m);
  }
}

/* ---- normalize ------------------------------------------------------------------------------------------------- */

static void normalize_f64(float *x, size_t n, const bn_channel *channel) {
  const f64x2 mean_hi_f64x2 = splat_f64x2(channel->mean_hi), mean_lo_f64x2 = splat_f64x2(channel->mean_lo);
  const f64x2 inv_std_f64x2 = splat_f64x2(channel->inv_std), gamma_f64x2 = splat_f64x2(channel->gamma);
  const f64x2 beta_f64x2 = splat_f64x2(channel->beta);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const f64x2 low_f64x2 = ((widen_f32x2(x + i) - mean_hi_f64x2) - mean_lo_f64x2) * inv_std_f64x2 * gamma_f64x2 + beta_f64x2;
    const f64x2 high_f64x2 =
        ((widen_f32x2(x + i + 2) - mean_hi_f64x2) - mean_lo_f64x2) * inv_std_f64x2 * gamma_f64x2 + beta_f64x2;
    store_f32x4(x + i, narrow_f64x2(low_f64x2, high_f64x2));
  }
  for (; i < n; i++)
    x[i] = (float)(((x[i] - channel->mean_hi) - channel->mean_lo) * channel->inv_std * channel->gamma + channel->beta);
}

static inline void normalize_4(float *x, f32x4 center_f32x4, f32x4 scale_f32x4, f32x4 shift_f32x4) {
  store_f32x4(x, (load_f32x4(x) - center_f32x4) * scale_f32x4 + shift_f32x4);
}

static void normalize_slabs(float *x, size_t rows, size_t stride, size_t channels, size_t spatial, const bn_channel *channel,
                            const float *fold) {
  const float *center = fold, *scale = center + channels, *shift = scale + channels;
  for (; rows > 0; rows--, x += stride) {
    float *slab = x;
    for (size_t c = 0; c < channels; c++, slab += spatial) {
      if (in_double(scale[c])) {
        normalize_f64(slab, spatial, channel + c);
        continue;
      }
      const f32x4 center_f32x4 = splat_f32x4(center[c]), scale_f32x4 = splat_f32x4(scale[c]), shift_f32x4 = splat_f32x4(shift[c]);
      size_t i = 0;
      for (; i + 16 <= spatial; i += 16) {
        normalize_4(slab + i, center_f32x4, scale_f32x4, shift_f32x4);
        normalize_4(slab + i + 4, center_f32x4, scale_f32x4, shift_f32x4);
        normalize_4(slab + i + 8, center_f32x4, scale_f32x4, shift_f32x4);
        normalize_4(slab + i + 12, center_f32x4, scale_f32x4, shift_f32x4);
      }
      for (; i + 4 <= spatial; i += 4) normalize_4(slab + i, center_f32x4, scale_f32x4, shift_f32x4);
      for (; i < spatial; i++) slab[i] = (slab[i] - center[c]) * scale[c] + shift[c];
    }
  }
}

/* The columns of channels that are all normalized in float32. */
static void normalize_columns_f32(float *x, size_t rows, size_t stride, size_t columns, const float *center, const float *scale,
                                  const float *shift) {
  for (size_t j = columns & ~(size_t)3; j < columns; j++)
    for (size_t row = 0; row < rows; row++) x[row * stride + j] = (x[row * stride + j] - center[j]) * scale[j] + shift[j];
  for (; rows >= 4; rows -= 4, x += 4 * stride) {
    float *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    for (size_t j = 0; j + 4 <= columns; j += 4) {
      const f32x4 center_f32x4 = load_f32x4(center + j), scale_f32x4 = load_f32x4(scale + j), shift_f32x4 = load_f32x4(shift + j);
      normalize_4(x + j, center_f32x4, scale_f32x4, shift_f32x4);
      normalize_4(x1 + j, center_f32x4, scale_f32x4, shift_f32x4);
      normalize_4(x2 + j, center_f32x4, scale_f32x4, shift_f32x4);
      normalize_4(x3 + j, center_f32x4, scale_f32x4, shift_f32x4);
    }
  }
  for (; rows > 0; rows--, x += stride)
    for (size_t j = 0; j + 4 <= columns; j += 4)
      normalize_4(x + j, load_f32x4(center + j), load_f32x4(scale + j), load_f32x4(shift + j));
}

static void normalize_columns(float *x, size_t rows, size_t stride, size_t channels, size_t spatial, const bn_channel *channel,
                              const float *fold) {
  const size_t columns = channels * spatial;
  const float *center = fold, *scale = center + columns, *shift = scale + columns;
  for (size_t begin = 0, end; begin < columns; begin = end) {
    const bool slow = in_double(scale[begin]);
    for (end = begin + spatial; end < columns && in_double(scale[end]) == slow;) end += spatial;
    if (!slow) {
      normalize_columns_f32(x + begin, rows, stride, end - begin, center + begin, scale + begin, shift + begin);
      continue;
    }
    for (size_t row = 0; row < rows; row++)
      for (size_t j = begin; j < end; j += spatial) normalize_f64(x + row * stride + j, spatial, channel + j / spatial);
  }
}

void bn_normalize(float *x, size_t rows, size_t stride, size_t channels, size_t spatial, bool columns, const bn_channel *channel,
                  const float *fold) {
  if (columns)
    normalize_columns(x, rows, stride, channels, spatial, channel, fold);
  else
    normalize_slabs(x, rows, stride, channels, spatial, channel, fold);
}
