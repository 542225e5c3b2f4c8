/* A channel's statistics, outputs and gradients, exactly as batchnorm.h describes them, one value at a time. It shares nothing
 * with the kernels but the header. fuzz.c includes it and compares the kernels with it bit by bit. */
#include "batchnorm.h"

#include <math.h>

/* ---- statistics -------------------------------------------------------------------------------------------------- */

/* The moments of some values: their count, their sum, and the sum of their squared deviations from their mean. */
typedef struct {
  double n, sum, squares;
} moments;

/* A mean as a float32, and the remainder. */
typedef struct {
  float hi;
  double lo;
} mean;

static mean mean_of(moments m) {
  const double per = 1 / m.n;
  const float hi = (float)(m.sum * per);
  return (mean){hi, (m.sum - m.n * hi) * per};
}

/* The squared distance of two means. */
static double distance(mean a, mean b) {
  const double d = ((double)a.hi - b.hi) + (a.lo - b.lo);
  return d * d;
}

/* Adjacent values of a channel, in several rows of X. A column has one value per row. */
typedef struct {
  const float *x;
  size_t rows, stride, n;
} block;

static double sum_of_slabs(block b) {
  double part[8] = {0}, rest = 0;
  for (size_t r = 0; r < b.rows; r++)
    for (size_t i = 0; i < b.n; i++) {
      double *to = i < b.n / 4 * 4 ? &part[i % 8] : &rest;
      *to += b.x[r * b.stride + i];
    }
  return (((part[0] + part[2]) + (part[4] + part[6])) + ((part[1] + part[3]) + (part[5] + part[7]))) + rest;
}

static double sum_of_column(block b) {
  double sum = 0;
  for (size_t r = 0; r < b.rows; r++) sum += b.x[r * b.stride];
  return sum;
}

static float squared_deviation(float x, float center) {
  const float d = x - center;
  return d * d;
}

/* The pairwise sum of squared deviations of n values that lie 4 apart; n is a power of two. */
static float tree(const float *x, size_t n, float center) {
  if (n == 1) return squared_deviation(x[0], center);
  return tree(x, n / 2, center) + tree(x + 4 * (n / 2), n / 2, center);
}

static double squares_of_slabs(block b, float center) {
  double part[4] = {0}, rest = 0;
  for (size_t r = 0; r < b.rows; r++) {
    const float *x = b.x + r * b.stride;
    for (size_t left = b.n, taken; left > 0; left -= taken, x += taken) {
      taken = left >= 32 ? 32 : left >= 16 ? 16 : left >= 4 ? 4 : 1;
      for (size_t lane = 0; lane < 4 && taken > 1; lane++) part[lane] += tree(x + lane, taken / 4, center);
      if (taken == 1) rest += squared_deviation(x[0], center);
    }
  }
  return ((part[0] + part[2]) + (part[1] + part[3])) + rest;
}

static double squares_of_column(block b, float center) {
  double squares = 0;
  for (size_t r = 0; r < b.rows; r += 4) {
    float square[4] = {0};
    for (size_t k = 0; k < 4 && r + k < b.rows; k++) square[k] = squared_deviation(b.x[(r + k) * b.stride], center);
    squares += (square[0] + square[1]) + (square[2] + square[3]);
  }
  return squares;
}

static double squares_in_double(block b, double center) {
  double part[4] = {0}, rest = 0;
  for (size_t r = 0; r < b.rows; r++)
    for (size_t i = 0; i < b.n; i++) {
      const double d = b.x[r * b.stride + i] - center;
      double *to = i < b.n / 4 * 4 ? &part[i % 4] : &rest;
      *to += d * d;
    }
  return ((part[0] + part[2]) + (part[1] + part[3])) + rest;
}

/* Whether the first n values are all close to a center, but not all equal to it. */
static bool tiny(const float *x, size_t n, float center, float limit) {
  bool close = true, apart = false;
  for (size_t i = 0; i < n; i++) {
    close = close && fabsf(x[i] - center) < limit;
    apart = apart || x[i] != center;
  }
  return close && apart;
}

static moments moments_of(block b, bool columns, double epsilon) {
  moments m = {.n = (double)(b.rows * b.n), .sum = columns ? sum_of_column(b) : sum_of_slabs(b)};
  const mean mean = mean_of(m);
  const size_t first = columns ? 1 : b.n < 8 ? 0 : 8;
  m.squares = columns ? squares_of_column(b, mean.hi) : squares_of_slabs(b, mean.hi);
  const bool hidden = m.squares == 0 && epsilon >= 1e-30;
  if (!(hidden || (m.squares < 1e36 && m.squares > m.n * 1e-28)) || tiny(b.x, first, mean.hi, 0x1p-45f))
    m.squares = squares_in_double(b, mean.hi);
  m.squares -= m.n * (mean.lo * mean.lo);
  return m;
}

static moments merged(moments a, moments b) {
  return (moments){
      .n = a.n + b.n,
      .sum = a.sum + b.sum,
      .squares = a.squares + (b.squares + distance(mean_of(b), mean_of(a)) * (a.n * b.n / (a.n + b.n))),
  };
}

/* A series: n positions per image, `stride` values from one image to the next. Iterates over its blocks in order; a block is a
 * place in X, or in another tensor of the same layout. */
typedef struct {
  size_t batch, stride, n, columns;
} series;

static size_t height_of(series s) { return s.columns ? s.columns : s.n < BN_SHORT ? BN_SHORT_ROWS : 1; }

static block block_of(series s, const float *x, size_t row, size_t p) {
  const size_t height = height_of(s);
  return (block){
      .x = x + row * s.stride + p,
      .rows = s.batch - row < height ? s.batch - row : height,
      .stride = s.stride,
      .n = s.n - p < BN_BLOCK_POSITIONS ? s.n - p : BN_BLOCK_POSITIONS,
  };
}

static moments moments_of_series(series s, const float *x, double epsilon) {
  moments all = {0};
  for (size_t row = 0; row < s.batch; row += height_of(s))
    for (size_t p = 0; p < s.n; p += BN_BLOCK_POSITIONS) {
      const moments m = moments_of(block_of(s, x, row, p), s.columns, epsilon);
      all = all.n == 0 ? m : merged(all, m);
    }
  return all;
}

/* A channel: its slabs start `stride` values apart, from one image to the next. */
typedef struct {
  size_t batch, stride, spatial, columns;
} slabs;

static size_t count_series(slabs s) { return s.columns ? s.spatial : 1; }

static series series_of(slabs s) {
  return (series){.batch = s.batch, .stride = s.stride, .n = s.spatial / count_series(s), .columns = s.columns};
}

/* Sets mean_hi, mean_lo and variance of the channel whose first value is x[0]. */
static void reference(slabs s, const float *x, double epsilon, bn_channel *channel) {
  moments all = {.n = (double)(s.batch * s.spatial)};
  for (size_t i = 0; i < count_series(s); i++) all.sum += moments_of_series(series_of(s), x + i, epsilon).sum;
  const mean mean = mean_of(all);
  for (size_t i = 0; i < count_series(s); i++) {
    const moments m = moments_of_series(series_of(s), x + i, epsilon);
    all.squares += m.squares + m.n * distance(mean_of(m), mean);
  }
  channel->mean_hi = mean.hi;
  channel->mean_lo = isfinite(mean.lo) ? mean.lo : 0;
  channel->variance = all.squares < 0 ? 0 : all.squares / all.n;
}

/* ---- outputs ------------------------------------------------------------------------------------------------------ */

static bool fits_scale(double scale) { return fabs(scale) >= 0x1p-126 && fabs(scale) <= 0x1p127; }

static bool fits_shift(double shift) { return fabs(shift) < 0x1p102; }

/* Output i of a slab: in double exactly where the header asks for it, in float32 elsewhere. */
static float normalized(slabs s, bool training, bool relu, const float *slab, size_t i, const bn_channel *k) {
  const double scale = k->gamma * k->inv_std, shift = k->beta - k->mean_lo * scale;
  const float center = (float)k->mean_hi;
  const size_t p = i / BN_BLOCK_POSITIONS * BN_BLOCK_POSITIONS;
  const bool in_float = (k->gamma == 0 || fits_scale(scale)) && fits_shift(k->mean_hi) && fits_shift(shift) &&
                        (training ? !(k->variance > 0 && k->variance < 0x1p-230) : shift == (float)shift) &&
                        (s.columns || s.spatial - p < 64 || !tiny(slab + p, 8, center, 0x1p-115f));
  const double in_double = ((slab[i] - k->mean_hi) - k->mean_lo) * k->inv_std * k->gamma + k->beta;
  const float y = in_float ? (slab[i] - center) * (float)scale + ((float)shift + 0) : (float)in_double;
  return relu && y <= 0 ? 0 : y;
}

/* ---- gradients ---------------------------------------------------------------------------------------------------- */

/* Sums of gradients, of deviations from a center, and of their products. */
typedef struct {
  double g, d, gd;
} sums;

static sums sums_of(block x, block g, double center) {
  sums part[4] = {0}, rest = {0};
  for (size_t r = 0; r < x.rows; r++)
    for (size_t i = 0; i < x.n; i++) {
      const double gradient = g.x[r * g.stride + i], d = x.x[r * x.stride + i] - center;
      sums *to = i < x.n / 4 * 4 ? &part[i % 4] : &rest;
      to->g += gradient;
      to->d += d;
      to->gd += gradient * d;
    }
  return (sums){
      .g = ((part[0].g + part[2].g) + (part[1].g + part[3].g)) + rest.g,
      .d = ((part[0].d + part[2].d) + (part[1].d + part[3].d)) + rest.d,
      .gd = ((part[0].gd + part[2].gd) + (part[1].gd + part[3].gd)) + rest.gd,
  };
}

static void add(sums *to, sums more) {
  to->g += more.g;
  to->d += more.d;
  to->gd += more.gd;
}

static sums sums_of_series(series s, const float *x, const float *g, double center) {
  sums all = {0};
  for (size_t row = 0; row < s.batch; row += height_of(s))
    for (size_t p = 0; p < s.n; p += BN_BLOCK_POSITIONS)
      add(&all, sums_of(block_of(s, x, row, p), block_of(s, g, row, p), center));
  return all;
}

/* A channel's gradients, after bn_fold. g is G after the mask of relu, with x's layout. */
typedef struct {
  sums all;
  double center, first;
  bool uneven;
} totals;

static totals totals_of(slabs s, const float *x, const float *g, const bn_channel *channel) {
  const float hi = (float)channel->mean_hi;
  totals t = {.center = isfinite(hi) ? hi : 0, .first = g[0]};
  for (size_t i = 0; i < count_series(s); i++) add(&t.all, sums_of_series(series_of(s), x + i, g + i, t.center));
  for (size_t row = 0; row < s.batch; row++)
    for (size_t i = 0; i < s.spatial; i++) t.uneven = t.uneven || g[row * s.stride + i] != g[0];
  return t;
}

/* bn_gradient, and in addition: `constant` of the header, |slope| times the root, and whether float32 may be used. */
typedef struct {
  bn_gradient numbers;
  double constant, most;
  bool in_float;
} gradients;

static gradients gradients_of(slabs s, totals t, bool training, double epsilon, const bn_channel *channel) {
  const double n = (double)(s.batch * s.spatial), per = 1 / n, center = t.center;
  const sums all = t.all;
  double together = all.gd;
  const double given = (channel->mean_hi - center) + channel->mean_lo;
  if (!training)
    together -= given == 0 || (isfinite(given) && !isfinite(all.g)) ? 0 : given * all.g;
  else if (!isfinite(all.g) || !isfinite(all.d))
    together = NAN;
  else
    together = t.uneven ? all.gd - all.g * per * all.d : 0;
  const mean of_g = mean_of((moments){.n = n, .sum = all.g});
  const double scale = channel->gamma * channel->inv_std, slope = together * per / (channel->variance + epsilon);
  bn_gradient k = {
      .gamma = together * channel->inv_std,
      .beta = all.g,
      .g_hi = of_g.hi,
      .g_lo = of_g.lo,
      .mean_hi = (float)(center + all.d * per),
      .scale = scale,
      .slope = scale * slope,
      .first = t.first,
      .uneven = t.uneven,
  };
  k.mean_lo = (center - k.mean_hi) + all.d * per;
  const double constant = scale * (k.mean_lo * slope - k.g_lo), most = fabs(k.slope) * sqrt(n * channel->variance);
  const bool in_float = (scale == 0 || fits_scale(scale)) && (k.slope == 0 || fits_scale(k.slope)) && fits_shift(k.mean_hi) &&
                        fits_shift(k.g_hi) && fits_shift(constant) && fits_shift(most);
  return (gradients){k, constant, most, in_float};
}

/* The gradient of one input, in training. */
static float input_gradient(float x, float g, const gradients *of) {
  const bn_gradient *k = &of->numbers;
  if (of->in_float)
    return ((g - (float)k->g_hi) * (float)k->scale + (float)of->constant) - (x - (float)k->mean_hi) * (float)k->slope;
  return (float)(((g - k->g_hi) - k->g_lo) * k->scale - ((x - k->mean_hi) - k->mean_lo) * k->slope);
}
