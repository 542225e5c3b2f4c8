/* Runs the kernels natively on calls read from standard input and writes the results, for native.test.js to compare with
 * the WebAssembly's bit by bit. Every array has an allocation of its own, so that a sanitizer sees any step outside.
 *
 * A call is 9 doubles: batch, channels, spatial, columns, training, epsilon, rows and positions of a block, and whether in
 * training `mean` is a guess of the batch's; then gamma, beta, mean and variance (doubles, one a channel), then X (floats).
 * The result is X normalized, then mean (mean_hi + mean_lo) and variance. All steps go block by block; rows = batch and
 * positions = spatial make one block. */
#include "batchnorm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *take(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) abort();
  return memory;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

typedef struct {
  size_t batch, channels, spatial, rows, positions;
  bool columns;
  double epsilon;
} dimensions;

typedef enum { SUM, SQUARES, SQUARES_F64, NORMALIZE } step;

/* Takes X through one step in blocks, each in memory of its own: all channels at once, or one where slabs are cut. */
static void sweep(const dimensions *d, step step, float *x, double *partial, bn_channel *channel, float *fold) {
  const size_t range = d->positions < d->spatial ? 1 : d->channels;
  const size_t partials = d->columns ? d->spatial : BN_LANES;
  const size_t stride = range * d->positions + 3;
  for (size_t c = 0; c < d->channels; c += range)
    for (size_t b = 0; b < d->batch; b += d->rows)
      for (size_t p = 0; p < d->spatial; p += d->positions) {
        const size_t rows = smaller(d->rows, d->batch - b), positions = smaller(d->positions, d->spatial - p);
        const size_t run = range * positions;
        float *block = take(4 * ((rows - 1) * stride + run));
        for (size_t r = 0; r < rows; r++) memcpy(block + r * stride, x + ((b + r) * d->channels + c) * d->spatial + p, 4 * run);
        /* Of a range of one channel the folded numbers lie `channels` apart; a copy brings them together. */
        float own[3] = {fold[c], 0, 0};
        if (range == 1 && d->channels > 1 && step == NORMALIZE) {
          own[1] = fold[d->channels + c];
          own[2] = fold[2 * d->channels + c];
        }
        float *folded = range == d->channels ? fold : own;
        double *sums = partial + c * partials;
        if (step == SUM) bn_sum(block, rows, stride, range, positions, d->columns, sums);
        if (step == SQUARES) bn_squares(block, rows, stride, range, positions, d->columns, folded, sums);
        if (step == SQUARES_F64) bn_squares_f64(block, rows, stride, range, positions, d->columns, channel + c, sums);
        if (step == NORMALIZE) bn_normalize(block, rows, stride, range, positions, d->columns, channel + c, folded);
        for (size_t r = 0; r < rows; r++) memcpy(x + ((b + r) * d->channels + c) * d->spatial + p, block + r * stride, 4 * run);
        free(block);
      }
}

int main(void) {
  double head[9];
  while (fread(head, sizeof head, 1, stdin) == 1) {
    const dimensions d = {
        .batch = (size_t)head[0],
        .channels = (size_t)head[1],
        .spatial = (size_t)head[2],
        .columns = head[3] != 0,
        .epsilon = head[5],
        .rows = (size_t)head[6],
        .positions = (size_t)head[7],
    };
    const bool training = head[4] != 0, guessed = training && head[8] != 0;
    const size_t n = d.batch * d.channels * d.spatial;
    const size_t partials = d.channels * (d.columns ? d.spatial : BN_LANES);
    const double count = (double)d.batch * (double)d.spatial;
    double *given = take(8 * 4 * d.channels), *partial = take(8 * partials);
    double *squares = guessed ? take(8 * partials) : partial;
    float *x = take(4 * n), *fold = take(4 * 3 * d.channels * (d.columns ? d.spatial : 1));
    bn_channel *channel = take(sizeof *channel * d.channels);
    if (fread(given, 8, 4 * d.channels, stdin) != 4 * d.channels || fread(x, 4, n, stdin) != n) return 1;
    for (size_t c = 0; c < d.channels; c++)
      channel[c] = (bn_channel){
          .gamma = given[c],
          .beta = given[d.channels + c],
          .mean_hi = given[2 * d.channels + c],
          .variance = given[3 * d.channels + c],
      };
    if (training) {
      memset(partial, 0, 8 * partials);
      memset(squares, 0, 8 * partials);
      sweep(&d, SUM, x, partial, channel, fold);
      if (guessed)
        for (size_t c = 0; c < d.channels; c++) fold[c] = (float)channel[c].mean_hi;
      bn_mean(partial, count, guessed, d.channels, d.spatial, d.columns, channel, fold);
      sweep(&d, SQUARES, x, squares, channel, fold);
      if (bn_fold_batch(squares, count, d.epsilon, false, d.channels, d.spatial, d.columns, channel, fold)) {
        sweep(&d, SQUARES_F64, x, squares, channel, fold);
        bn_fold_batch(squares, count, d.epsilon, true, d.channels, d.spatial, d.columns, channel, fold);
      }
    } else {
      bn_fold_running(d.epsilon, d.channels, d.spatial, d.columns, channel, fold);
    }
    sweep(&d, NORMALIZE, x, partial, channel, fold);
    for (size_t c = 0; c < d.channels; c++) {
      given[c] = channel[c].mean_hi + channel[c].mean_lo;
      given[d.channels + c] = channel[c].variance;
    }
    fwrite(x, 4, n, stdout);
    fwrite(given, 8, 2 * d.channels, stdout);
    free(given);
    if (guessed) free(squares);
    free(partial);
    free(x);
    free(fold);
    free(channel);
  }
  return 0;
}
