/* Shared by the forward kernels and the gradient kernels: limits, blocks, and means in two parts. */
#ifndef BN_SHARED_H
#define BN_SHARED_H

#include "batchnorm.h"
#include "simd.h"

/* ---- limits: where float32 is too narrow, and double takes over ------------------------------------------------- */

/* Limits of the factors in the hot loops, and of the numbers that are subtracted or added there. */
#define LEAST_SCALE 0x1p-126
#define MOST_SCALE 0x1p127
#define MOST_SHIFT 0x1p102

/* A NaN in fold marks a channel for which float32 is too narrow. */
static inline bool in_double(float number) { return number != number; }

static inline bool is_scale(double value) {
  const double size = __builtin_fabs(value);
  return size >= LEAST_SCALE && size <= MOST_SCALE;
}

static inline bool is_shift(double value) { return __builtin_fabs(value) < MOST_SHIFT; }

/* In columns: the first channel from c on that is computed in double, or `channels` if there is none. */
static inline size_t next_in_double(const float *scale, size_t c, size_t channels, size_t spatial) {
  while (c < channels && !in_double(scale[c * spatial])) c++;
  return c;
}

/* ---- blocks, sums and means -------------------------------------------------------------------------------------- */

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static inline size_t block_height(size_t spatial, size_t columns) {
  return columns ? columns : spatial < BN_SHORT ? BN_SHORT_ROWS : 1;
}

static inline bool is_finite(double value) { return value - value == 0; }

/* The mean of n values as a float32, and the remainder. */
static inline float mean_hi(double sum, double inv_n) { return (float)(sum * inv_n); }
static inline double mean_lo(double sum, double n, double inv_n, float hi) { return (sum - n * hi) * inv_n; }

#endif
