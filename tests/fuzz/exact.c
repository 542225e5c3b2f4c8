/* Exact results for the fuzzer: the definitions evaluated in 113 bits, channel by channel, without layouts, blocks or float32.
 * Reads questions from standard input and answers each on standard output, in the machine's byte order.
 *
 * A question is eight doubles (what, count, given, gamma, beta, epsilon, mean, variance) and values:
 *   0  output, in training or with given statistics. Values: count floats x. Answer: the mean as a double and the remainder,
 *      variance, mean of |x|, scale and shift; y; |p|.
 *   1  gradients in training, with the batch's own variance or a given one. Values: x, and g after the mask of relu. Answer:
 *      gradGamma, gradBeta, |scale|, |slope|, rms, spread, offset and the root of variance + epsilon; gradInput; |P|; |R|; |x̂|.
 *      The names are those of gradient-reference.js.
 *   2  the same in inference.
 *   3  merged moments of parts. Values: count, mean and variance of each, as doubles. Answer: the mean and the remainder,
 *      variance. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SIZEOF_FLOAT128__
typedef __float128 wide;
#else
typedef long double wide;
_Static_assert(LDBL_MANT_DIG >= 113, "needs a type of 113 bits");
#endif

/* One step of Newton's method doubles the number of correct digits. */
static wide root(wide value) {
  const long double near = sqrtl((long double)value);
  if (!(near > 0) || isinf(near)) return near;
  return (near + value / near) / 2;
}

static double *answer;

/* Sums and means have 113 bits. Deviations from them are kept as long double, which is precise enough to judge float32. */
static long double *deviations, *gradient_deviations;

static void take(const float *values, wide mean, size_t n, long double *to) {
  for (size_t i = 0; i < n; i++) to[i] = values[i] - mean;
}

static wide mean_of(const float *values, size_t n) {
  wide sum = 0;
  for (size_t i = 0; i < n; i++) sum += values[i];
  return sum / n;
}

static wide sum_of_products(const long double *a, const long double *b, size_t n) {
  wide sum = 0;
  for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static size_t output(const double *question, const float *x, size_t n) {
  const bool given = question[2] != 0;
  const wide gamma = question[3], epsilon = question[5];
  const wide mean = given ? (wide)question[6] : mean_of(x, n);
  take(x, mean, n, deviations);
  const wide variance = given ? (wide)question[7] : sum_of_products(deviations, deviations, n) / n;
  const long double scale = gamma / root(variance + epsilon), beta = question[4];
  double *y = answer + 6, *p = y + n;
  long double magnitudes = 0;
  for (size_t i = 0; i < n; i++) {
    const long double product = deviations[i] * scale;
    y[i] = product + beta;
    p[i] = fabsl(product);
    magnitudes += fabsf(x[i]);
  }
  answer[0] = mean;
  answer[1] = mean - answer[0];
  answer[2] = variance;
  answer[3] = magnitudes / n;
  answer[4] = scale;
  answer[5] = beta - mean * scale;
  return 6 + 2 * n;
}

static size_t gradients(const double *question, const float *x, const float *g, size_t n) {
  const bool training = question[0] == 1, given = question[2] != 0;
  const wide gamma = question[3], epsilon = question[5];
  const wide mean = training ? mean_of(x, n) : (wide)question[6];
  const wide g_mean = mean_of(g, n);
  const float center = given ? (float)question[6] : (float)mean;
  take(x, mean, n, deviations);
  take(g, training ? g_mean : 0, n, gradient_deviations);
  const wide squares = sum_of_products(deviations, deviations, n);
  const wide products = sum_of_products(gradient_deviations, deviations, n);
  const wide used = epsilon + (given ? (wide)question[7] : squares / n);
  const long double std = root(used), scale = gamma / root(used);
  const long double slope = training ? products / (n * used) * (gamma / root(used)) : 0;
  double *input = answer + 8, *P = input + n, *R = P + n, *normalized = R + n;
  long double of_g = 0, of_center = 0;
  for (size_t i = 0; i < n; i++) {
    const long double of_gradient = gradient_deviations[i] * scale;
    const long double of_value = training ? deviations[i] * slope : 0;
    const long double from_center = (long double)x[i] - center;
    of_g += (long double)g[i] * g[i];
    of_center += from_center * from_center;
    input[i] = of_gradient - of_value;
    P[i] = fabsl(of_gradient);
    R[i] = fabsl(of_value);
    normalized[i] = fabsl(deviations[i] / std);
  }
  answer[0] = products / root(used);
  answer[1] = g_mean * n;
  answer[2] = fabsl(scale);
  answer[3] = fabsl(slope);
  answer[4] = sqrtl(of_g / n);
  answer[5] = sqrtl((long double)(squares / n)) / std;
  answer[6] = sqrtl(of_center / n) / std;
  answer[7] = std;
  return 8 + 4 * n;
}

static size_t merged(const double *parts, size_t n) {
  wide count = 0, mean = 0, squares = 0;
  for (size_t k = 0; k < n; k++) {
    count += parts[3 * k];
    mean += (wide)parts[3 * k] * parts[3 * k + 1];
  }
  mean /= count;
  for (size_t k = 0; k < n; k++) {
    const wide d = parts[3 * k + 1] - mean;
    squares += parts[3 * k] * (parts[3 * k + 2] + d * d);
  }
  answer[0] = mean;
  answer[1] = mean - answer[0];
  answer[2] = squares / count;
  return 3;
}

static void *room(void *had, size_t bytes) {
  void *memory = realloc(had, bytes);
  if (!memory) abort();
  return memory;
}

int main(void) {
  double question[8], *values = NULL;
  size_t most = 0;
  while (fread(question, sizeof question, 1, stdin) == 1) {
    const int what = question[0];
    const size_t n = question[1];
    const size_t bytes = n * (what == 0 ? sizeof(float) : what == 3 ? 3 * sizeof(double) : 2 * sizeof(float));
    if (n > most) {
      most = n;
      values = room(values, most * 3 * sizeof *values);
      answer = room(answer, (most * 4 + 8) * sizeof *answer);
      deviations = room(deviations, most * sizeof *deviations);
      gradient_deviations = room(gradient_deviations, most * sizeof *gradient_deviations);
    }
    if (fread(values, bytes, 1, stdin) != 1) return 1;
    const float *x = (const float *)values;
    const size_t size = what == 0 ? output(question, x, n) : what == 3 ? merged(values, n) : gradients(question, x, x + n, n);
    if (fwrite(answer, sizeof *answer, size, stdout) != size || fflush(stdout)) return 1;
  }
  return 0;
}
