/* The statistics of a channel by the words of batchnorm.h on the order of summation: one value at a time, and nothing shared with
 * the kernels but the header. fuzz.c, which includes this, holds the kernels against it bit by bit. */
#include "batchnorm.h"

#include <math.h>

/* Of some values: how many, their sum, and the sum of their squared deviations from their own mean. */
typedef struct {
  double n, sum, squares;
} moments;

/* A mean as a float32, and what is left of it. */
typedef struct {
  float hi;
  double lo;
} mean;

static mean mean_of(moments m) {
  const double per = 1 / m.n;
  const float hi = (float)(m.sum * per);
  return (mean){hi, (m.sum - m.n * hi) * per};
}

/* How far one mean is from another, squared. */
static double distance(mean a, mean b) {
  const double d = ((double)a.hi - b.hi) + (a.lo - b.lo);
  return d * d;
}

/* Values of a channel that are next to each other in some rows of X. A column has one per row. */
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

/* Of n values that lie 4 apart, a power of two of them: pairwise. */
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

/* Whether the first n values are all close to a center, and not all equal to it. */
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

/* Of a series of n positions in each image, `stride` values from one image to the next. */
static moments moments_of_series(const float *x, size_t batch, size_t stride, size_t n, bool columns, double epsilon) {
  const size_t height = columns ? BN_COLUMN_ROWS : n < BN_SHORT ? BN_SHORT_ROWS : 1;
  moments all = {0};
  for (size_t row = 0; row < batch; row += height)
    for (size_t p = 0; p < n; p += BN_BLOCK_POSITIONS) {
      const moments m = moments_of(
          (block){
              .x = x + row * stride + p,
              .rows = batch - row < height ? batch - row : height,
              .stride = stride,
              .n = n - p < BN_BLOCK_POSITIONS ? n - p : BN_BLOCK_POSITIONS,
          },
          columns, epsilon);
      all = all.n == 0 ? m : merged(all, m);
    }
  return all;
}

/* Sets mean_hi, mean_lo and variance of a channel, whose first value is x[0]. */
static void reference(const float *x, size_t batch, size_t stride, size_t spatial, bool columns, double epsilon,
                      bn_channel *channel) {
  const size_t series = columns ? spatial : 1, width = spatial / series;
  moments all = {.n = (double)(batch * spatial)};
  for (size_t i = 0; i < series; i++) all.sum += moments_of_series(x + i, batch, stride, width, columns, epsilon).sum;
  const mean mean = mean_of(all);
  for (size_t i = 0; i < series; i++) {
    const moments m = moments_of_series(x + i, batch, stride, width, columns, epsilon);
    all.squares += m.squares + m.n * distance(mean_of(m), mean);
  }
  channel->mean_hi = mean.hi;
  channel->mean_lo = isfinite(mean.lo) ? mean.lo : 0;
  channel->variance = all.squares < 0 ? 0 : all.squares / all.n;
}
