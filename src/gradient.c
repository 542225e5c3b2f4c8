/* The gradient kernels, in the order in which they run: mask, sums, fold, input gradient. batchnorm.h is the manual. */
#include "batchnorm.h"

#include <assert.h>

#include "shared.h"

/* ---- mask ------------------------------------------------------------------------------------------------------ */

void bn_mask(const float *y, const float *g, float *to, size_t rows, size_t y_stride, size_t g_stride, size_t to_stride,
             size_t width) {
  assert(rows > 0 && width > 0 && (to != g || to_stride == g_stride));
  for (size_t row = 0; row < rows; row++) {
    const float *outputs = y + row * y_stride, *gradients = g + row * g_stride;
    float *masked = to + row * to_stride;
    size_t j = 0;
    for (; j + 8 <= width; j += 8) {
      store_f32x4(masked + j, where_positive_f32x4(load_f32x4(outputs + j), load_f32x4(gradients + j)));
      store_f32x4(masked + j + 4, where_positive_f32x4(load_f32x4(outputs + j + 4), load_f32x4(gradients + j + 4)));
    }
    for (; j < width; j++) masked[j] = where_positive_f32x4(splat_f32x4(outputs[j]), splat_f32x4(gradients[j]))[0];
  }
}

/* ---- sums of a block --------------------------------------------------------------------------------------------- */

/* Adds the four lanes of a sum as (0 + 2) + (1 + 3). */
static inline double total(f64x2 lanes01_f64x2, f64x2 lanes23_f64x2) {
  lanes01_f64x2 += lanes23_f64x2;
  return lanes01_f64x2[0] + lanes01_f64x2[1];
}

/* Two lanes of each of the three sums. */
typedef struct {
  f64x2 g_f64x2, d_f64x2, gd_f64x2;
} lanes;

static inline void add_2(lanes *to, const float *x, const float *g, f64x2 center_f64x2) {
  const f64x2 d_f64x2 = widen_f32x2(x) - center_f64x2, g_f64x2 = widen_f32x2(g);
  to->g_f64x2 += g_f64x2;
  to->d_f64x2 += d_f64x2;
  to->gd_f64x2 += g_f64x2 * d_f64x2;
}

static void sum_slabs(const float *x, const float *g, size_t rows, size_t x_stride, size_t g_stride, size_t n, float center,
                      double *sum_g, double *sum_d, double *sum_gd) {
  const f64x2 center_f64x2 = splat_f64x2(center), zero_f64x2 = splat_f64x2(0);
  lanes sum[2] = {{zero_f64x2, zero_f64x2, zero_f64x2}, {zero_f64x2, zero_f64x2, zero_f64x2}};
  double rest_g = 0, rest_d = 0, rest_gd = 0;
  for (size_t row = 0; row < rows; row++) {
    const float *slab = x + row * x_stride, *gradients = g + row * g_stride;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      add_2(&sum[0], slab + i, gradients + i, center_f64x2);
      add_2(&sum[1], slab + i + 2, gradients + i + 2, center_f64x2);
    }
    for (; i < n; i++) {
      const double d = slab[i] - (double)center;
      rest_g += gradients[i];
      rest_d += d;
      rest_gd += gradients[i] * d;
    }
  }
  *sum_g = total(sum[0].g_f64x2, sum[1].g_f64x2) + rest_g;
  *sum_d = total(sum[0].d_f64x2, sum[1].d_f64x2) + rest_d;
  *sum_gd = total(sum[0].gd_f64x2, sum[1].gd_f64x2) + rest_gd;
}

/* Rows per pass in columns. With more, rows that are whole pages apart would evict each other from the first-level cache. */
#define STRIP_ROWS 4

/* A few rows at a time, so that each sum is loaded and stored once for all of them, and the rows stay in the cache. */
static void sum_columns(const float *restrict x, const float *restrict g, size_t rows, size_t x_stride, size_t g_stride,
                        size_t width, const float *restrict center, double *restrict sum_g, double *restrict sum_d,
                        double *restrict sum_gd) {
  for (size_t j = 0; j < width; j++) sum_g[j] = sum_d[j] = sum_gd[j] = 0;
  for (size_t row = 0; row < rows; row += STRIP_ROWS) {
    const size_t count = smaller(STRIP_ROWS, rows - row);
    size_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const f64x2 center01_f64x2 = widen_f32x2(center + j), center23_f64x2 = widen_f32x2(center + j + 2);
      lanes sum[2] = {{load_f64x2(sum_g + j), load_f64x2(sum_d + j), load_f64x2(sum_gd + j)},
                      {load_f64x2(sum_g + j + 2), load_f64x2(sum_d + j + 2), load_f64x2(sum_gd + j + 2)}};
      for (size_t r = row; r < row + count; r++) {
        const float *from = x + r * x_stride + j, *gradients = g + r * g_stride + j;
        add_2(&sum[0], from, gradients, center01_f64x2);
        add_2(&sum[1], from + 2, gradients + 2, center23_f64x2);
      }
      store_f64x2(sum_g + j, sum[0].g_f64x2);
      store_f64x2(sum_d + j, sum[0].d_f64x2);
      store_f64x2(sum_gd + j, sum[0].gd_f64x2);
      store_f64x2(sum_g + j + 2, sum[1].g_f64x2);
      store_f64x2(sum_d + j + 2, sum[1].d_f64x2);
      store_f64x2(sum_gd + j + 2, sum[1].gd_f64x2);
    }
    for (; j < width; j++)
      for (size_t r = row; r < row + count; r++) {
        const float value = g[r * g_stride + j];
        const double d = x[r * x_stride + j] - (double)center[j];
        sum_g[j] += value;
        sum_d[j] += d;
        sum_gd[j] += value * d;
      }
  }
}

/* Whether any value of the slabs differs from `value`. Nearly always the first or second does. */
static bool differs(const float *g, size_t rows, size_t stride, size_t n, double value) {
  for (size_t row = 0; row < rows; row++)
    for (size_t i = 0; i < n; i++)
      if (g[row * stride + i] != value) return true;
  return false;
}

void bn_gradient_sums(const float *x, const float *g, size_t rows, size_t x_stride, size_t g_stride, size_t channels,
                      size_t spatial, size_t columns, size_t seen, double *partial, bn_gradient *gradient, const float *fold) {
  const size_t copies = columns ? spatial : 1, series = channels * copies, height = block_height(spatial, columns);
  assert(rows > 0 && channels > 0 && spatial > 0 && (!columns || spatial <= BN_BLOCK_POSITIONS));
  assert(seen % (columns ? height : spatial < BN_SHORT && rows > 1 ? height * spatial : 1) == 0);
  for (size_t c = 0; c < channels; c++) {
    if (seen == 0) {
      gradient[c].first = g[c * spatial];
      gradient[c].uneven = 0;
    }
    if (!gradient[c].uneven) gradient[c].uneven = differs(g + c * spatial, rows, g_stride, spatial, gradient[c].first);
  }
  for (size_t row = 0; row < rows; row += height)
    for (size_t p = 0; p < spatial; p += BN_BLOCK_POSITIONS, seen = 1) {
      const float *block = x + row * x_stride + p, *gradients = g + row * g_stride + p;
      const size_t block_rows = smaller(rows - row, height), positions = smaller(spatial - p, BN_BLOCK_POSITIONS);
      /* The first block's sums are the totals; those of later blocks go behind the totals, to be added. */
      double *sum_g = seen ? partial + 3 * series : partial, *sum_d = sum_g + series, *sum_gd = sum_d + series;
      if (columns)
        sum_columns(block, gradients, block_rows, x_stride, g_stride, series, fold, sum_g, sum_d, sum_gd);
      else
        for (size_t c = 0; c < channels; c++)
          sum_slabs(block + c * spatial, gradients + c * spatial, block_rows, x_stride, g_stride, positions, fold[c], sum_g + c,
                    sum_d + c, sum_gd + c);
      if (seen)
        for (size_t j = 0; j < 3 * series; j++) partial[j] += partial[j + 3 * series];
    }
}

/* ---- fold ------------------------------------------------------------------------------------------------------ */

__attribute__((minsize)) void bn_gradient_fold(double count, double epsilon, bool training, size_t channels, size_t spatial,
                                               size_t columns, const double *partial, const bn_channel *channel,
                                               bn_gradient *gradient, float *fold) {
  const size_t copies = columns ? spatial : 1, series = channels * copies;
  const double inv_count = 1 / count;
  for (size_t c = 0; c < channels; c++, channel++, gradient++) {
    double sum_g = 0, sum_d = 0, sum_gd = 0;
    for (size_t i = c * copies; i < (c + 1) * copies; i++) {
      sum_g += partial[i];
      sum_d += partial[i + series];
      sum_gd += partial[i + 2 * series];
    }
    /* The sum of deviations need not be 0: they are from the fold's center, which need not be the batch's own mean. */
    const double center = fold[c * copies], offset = sum_d * inv_count, mean = sum_g * inv_count;
    const double given = (channel->mean_hi - center) + channel->mean_lo;
    if (training) /* The last two terms are NaN if a sum is not finite, and 0 otherwise. */
      sum_gd = (gradient->uneven ? sum_gd - mean * sum_d : 0) + 0 * sum_g + 0 * sum_d;
    else if (given != 0 && (is_finite(sum_g) || !is_finite(given)))
      /* If the mean is finite, subtracting cannot change an infinite sum, but could turn it into NaN. */
      sum_gd -= given * sum_g;
    gradient->gamma = sum_gd * channel->inv_std;
    gradient->beta = sum_g;
    const float hi = (float)(center + offset), g_hi = mean_hi(sum_g, inv_count);
    gradient->mean_hi = hi;
    gradient->mean_lo = (center - hi) + offset;
    gradient->g_hi = g_hi;
    gradient->g_lo = mean_lo(sum_g, count, inv_count, g_hi);
    gradient->scale = channel->gamma * channel->inv_std;
    const double ratio = sum_gd * inv_count / (channel->variance + epsilon);
    gradient->slope = gradient->scale * ratio;
    const double constant = gradient->scale * (gradient->mean_lo * ratio - gradient->g_lo);
    const double most = __builtin_fabs(gradient->slope) * __builtin_sqrt(count * channel->variance);
    const bool in_float = (gradient->scale == 0 || is_scale(gradient->scale)) &&
                          (gradient->slope == 0 || is_scale(gradient->slope)) && is_shift(hi) && is_shift(g_hi) &&
                          is_shift(constant) && is_shift(most);
    float *to = fold + 3 * series + c * copies;
    for (size_t i = 0; i < copies; i++, to++) {
      to[0] = g_hi;
      to[series] = in_float ? (float)gradient->scale : __builtin_nanf("");
      to[2 * series] = (float)constant;
      to[3 * series] = hi;
      to[4 * series] = (float)gradient->slope;
    }
  }
}

/* ---- input gradient ---------------------------------------------------------------------------------------------- */

static double input_f64(double x, double g, const bn_gradient *k) {
  return ((g - k->g_hi) - k->g_lo) * k->scale - ((x - k->mean_hi) - k->mean_lo) * k->slope;
}

/* The numbers of one channel in all lanes, or those of four columns. */
typedef struct {
  f32x4 g_hi_f32x4, scale_f32x4, constant_f32x4, center_f32x4, slope_f32x4;
} folded;

static inline f32x4 input(const float *x, const float *g, folded k) {
  return ((load_f32x4(g) - k.g_hi_f32x4) * k.scale_f32x4 + k.constant_f32x4) - (load_f32x4(x) - k.center_f32x4) * k.slope_f32x4;
}

static __attribute__((noinline)) void input_slabs(const float *x, const float *g, float *y, size_t rows, size_t x_stride,
                                                  size_t g_stride, size_t y_stride, size_t slabs, size_t spacing, size_t n,
                                                  const bn_gradient *gradient, const float *fold, size_t step) {
  for (size_t row = 0; row < rows; row++)
    for (size_t c = 0; c < slabs; c++) {
      const float *from = x + row * x_stride + c * spacing, *gradients = g + row * g_stride + c * spacing, *k = fold + c;
      float *to = y + row * y_stride + c * spacing;
      const float g_hi = k[0], scale = k[step], constant = k[2 * step], center = k[3 * step], slope = k[4 * step];
      size_t i = 0;
      if (in_double(scale)) {
        for (; i < n; i++) to[i] = (float)input_f64(from[i], gradients[i], gradient + c);
        continue;
      }
      const folded all = {splat_f32x4(g_hi), splat_f32x4(scale), splat_f32x4(constant), splat_f32x4(center), splat_f32x4(slope)};
      for (; i + 8 <= n; i += 8) {
        const f32x4 y0_f32x4 = input(from + i, gradients + i, all), y1_f32x4 = input(from + i + 4, gradients + i + 4, all);
        store_f32x4(to + i, y0_f32x4);
        store_f32x4(to + i + 4, y1_f32x4);
      }
      for (; i + 4 <= n; i += 4) store_f32x4(to + i, input(from + i, gradients + i, all));
      for (; i < n; i++) to[i] = ((gradients[i] - g_hi) * scale + constant) - (from[i] - center) * slope;
    }
}

/* The width is a multiple of 4. Two rows at a time; the last two may be the same row, so both are loaded before either is stored. */
static void input_columns(const float *x, const float *g, float *y, size_t rows, size_t x_stride, size_t g_stride,
                          size_t y_stride, size_t width, const float *fold, size_t step) {
  for (size_t row = 0; row < rows; row += 2) {
    const size_t next = smaller(row + 1, rows - 1);
    const float *x0 = x + row * x_stride, *x1 = x + next * x_stride, *g0 = g + row * g_stride, *g1 = g + next * g_stride;
    float *y0 = y + row * y_stride, *y1 = y + next * y_stride;
    for (size_t j = 0; j < width; j += 4) {
      const float *k = fold + j;
      const folded each = {load_f32x4(k), load_f32x4(k + step), load_f32x4(k + 2 * step), load_f32x4(k + 3 * step),
                           load_f32x4(k + 4 * step)};
      const f32x4 y0_f32x4 = input(x0 + j, g0 + j, each), y1_f32x4 = input(x1 + j, g1 + j, each);
      store_f32x4(y0 + j, y0_f32x4);
      store_f32x4(y1 + j, y1_f32x4);
    }
  }
}

void bn_gradient_input(const float *x, const float *g, float *y, size_t rows, size_t x_stride, size_t g_stride, size_t y_stride,
                       size_t channels, size_t spatial, size_t columns, const bn_gradient *gradient, const float *fold) {
  assert(rows > 0 && channels > 0 && spatial > 0 && (g != y || g_stride == y_stride) && (x != y || x_stride == y_stride));
  const size_t step = columns ? channels * spatial : channels;
  fold += 3 * step;
  if (!columns) {
    input_slabs(x, g, y, rows, x_stride, g_stride, y_stride, channels, spatial, spatial, gradient, fold, step);
    return;
  }
  for (size_t c = 0; c < channels;) {
    /* Adjacent channels in float32 go together. The columns after the last group of four are treated as slabs of one position. */
    const size_t end = next_in_double(fold + step, c, channels, spatial);
    const size_t j = c * spatial, width = (end - c) * spatial, whole = width & ~(size_t)3, tail = j + whole;
    input_columns(x + j, g + j, y + j, rows, x_stride, g_stride, y_stride, whole, fold + j, step);
    input_slabs(x + tail, g + tail, y + tail, rows, x_stride, g_stride, y_stride, width - whole, 1, 1, gradient, fold + tail,
                step);
    /* The channel that ended the run is computed in double. */
    if (end < channels) {
      const size_t last = end * spatial;
      input_slabs(x + last, g + last, y + last, rows, x_stride, g_stride, y_stride, 1, spatial, spatial, gradient + end,
                  fold + last, step);
    }
    c = end + 1;
  }
}
