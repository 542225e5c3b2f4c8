/* Fuzzes the kernels (libFuzzer, with the sanitizers): any dimensions, any bits as X, any cut into blocks. Beyond what
 * the sanitizers see, a cut must not change a bit, and no variance may come out negative. */
#include "batchnorm.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool holds) {
  if (!holds) abort();
}

static bool same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

static void *take(size_t size) {
  void *memory = malloc(size ? size : 1);
  require(memory != NULL);
  return memory;
}

/* All steps over blocks of `cut` rows, from guesses of the means if given. */
static void train(float *x, size_t batch, size_t cut, size_t stride, size_t channels, size_t spatial, bool columns,
                  double epsilon, const float *guess, double *partial, bn_channel *channel, float *fold) {
#define EACH_BLOCK(call)                                   \
  for (size_t b = 0; b < batch; b += cut) {                \
    float *block = x + b * stride;                         \
    const size_t rows = batch - b < cut ? batch - b : cut; \
    call;                                                  \
  }
  const double count = (double)(batch * spatial);
  memset(partial, 0, 8 * channels * (columns ? spatial : BN_LANES));
  EACH_BLOCK(bn_sum(block, rows, stride, channels, spatial, columns, partial))
  if (guess)
    for (size_t c = 0, at = 0; c < channels; c++)
      for (size_t i = 0; i < (columns ? spatial : 1); i++) fold[at++] = guess[c];
  bn_mean(partial, count, guess != NULL, channels, spatial, columns, channel, fold);
  EACH_BLOCK(bn_squares(block, rows, stride, channels, spatial, columns, fold, partial))
  if (bn_fold_batch(partial, count, epsilon, false, channels, spatial, columns, channel, fold)) {
    EACH_BLOCK(bn_squares_f64(block, rows, stride, channels, spatial, columns, channel, partial))
    require(bn_fold_batch(partial, count, epsilon, true, channels, spatial, columns, channel, fold) == 0);
  }
  EACH_BLOCK(bn_normalize(block, rows, stride, channels, spatial, columns, channel, fold))
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 12) return 0;
  const size_t batch = 1 + data[0] % 40, channels = 1 + data[1] % 9, spatial = 1 + (data[2] | data[3] << 8) % 300;
  const bool columns = data[4] % 2 && spatial < 32;
  const double epsilon = data[5] % 3 == 0 ? 0 : data[5] % 3 == 1 ? 1e-5 : 1e-40;
  const size_t cut = columns ? 4 * (1 + data[6] % 3) : 1 + data[6] % 8;
  const size_t stride = channels * spatial, n = batch * stride;
  const size_t partials = channels * (columns ? spatial : BN_LANES);

  float *x = take(4 * n), *y = take(4 * n), *z = take(4 * n), *guesses = take(4 * channels),
        *fold = take(4 * 3 * channels * (columns ? spatial : 1));
  double *partial = take(8 * partials), *variance = take(8 * channels);
  bn_channel *channel = take(sizeof *channel * channels);
  for (size_t i = 0; i < n; i++) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 4; k++) bits = bits << 8 | data[7 + (4 * i + k) % (size - 7)];
    memcpy(x + i, &bits, 4);
  }
  memcpy(y, x, 4 * n);
  for (size_t c = 0; c < channels; c++) guesses[c] = x[c * spatial];
  for (size_t c = 0; c < channels; c++) channel[c] = (bn_channel){.gamma = 1.5, .beta = c % 2 ? 0.1 : -2};

  /* Each channel's first value is a guess, good or bad. */
  const float *guess = data[6] & 128 ? guesses : NULL;
  train(y, batch, batch, stride, channels, spatial, columns, epsilon, guess, partial, channel, fold);
  for (size_t c = 0; c < channels; c++) {
    require(!(channel[c].variance < 0));
    variance[c] = channel[c].variance;
  }
  memcpy(z, x, 4 * n);
  train(x, batch, cut, stride, channels, spatial, columns, epsilon, guess, partial, channel, fold);
  for (size_t i = 0; i < n; i++) require(same(x[i], y[i]));
  /* A guess may change the rounding, nothing else. */
  train(z, batch, batch, stride, channels, spatial, columns, epsilon, NULL, partial, channel, fold);
  for (size_t c = 0; c < channels; c++)
    if (channel[c].variance > 1e-20 && channel[c].variance < 1e30)
      require(variance[c] / channel[c].variance > 1 - 2e-6 && variance[c] / channel[c].variance < 1 + 2e-6);

  double statistics[2];
  memcpy(statistics, data + size - 8, 8);
  memcpy(statistics + 1, data + size - 12, 8);
  for (size_t c = 0; c < channels; c++)
    channel[c] = (bn_channel){
        .gamma = statistics[1], .beta = 1, .mean_hi = statistics[0], .variance = statistics[1] < 0 ? 1 : statistics[1]};
  bn_fold_running(epsilon, channels, spatial, columns, channel, fold);
  bn_normalize(x, batch, stride, channels, spatial, columns, channel, fold);

  free(x);
  free(y);
  free(z);
  free(guesses);
  free(variance);
  free(fold);
  free(partial);
  free(channel);
  return 0;
}
