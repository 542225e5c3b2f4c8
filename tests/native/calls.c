/* Runs the kernels natively on calls read from standard input and writes the results, for native.js to compare with the
 * WebAssembly's bit by bit. Every array has an allocation of its own, so that a sanitizer sees any step outside, and nothing is
 * set that batchnorm.h does not ask for, so that one sees it used.
 *
 * A call is 9 doubles: batch, channels, spatial, columns, training, epsilon, rows and positions of a piece, and whether Y is X;
 * then gamma, beta, mean and variance (doubles, one a channel), then X (floats). The result is X normalized, then mean (mean_hi +
 * mean_lo) and variance. rows = batch and positions = spatial make one piece. */
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
  bool columns, training, in_place;
  double epsilon;
} problem;

/* A range of channels, with memory for nothing else. */
typedef struct {
  size_t first, channels;
  bn_channel *channel;
  double *partial;
  float *fold;
} range;

static void copy_rows(float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows, size_t run) {
  for (size_t r = 0; r < rows; r++) memcpy(to + r * to_stride, from + r * from_stride, 4 * run);
}

typedef enum { STATISTICS, NORMALIZE } step;

/* Takes a range of X through one step in pieces, each in memory of its own. To normalize, which has no order, backwards. */
static void sweep(const problem *p, const range *range, step step, const float *x, float *y) {
  const size_t row = p->channels * p->spatial;
  const size_t across = (p->spatial + p->positions - 1) / p->positions;
  const size_t pieces = (p->batch + p->rows - 1) / p->rows * across;
  for (size_t k = 0; k < pieces; k++) {
    const size_t piece = step == NORMALIZE ? pieces - 1 - k : k;
    const size_t b = piece / across * p->rows, begin = piece % across * p->positions;
    const size_t rows = smaller(p->rows, p->batch - b), positions = smaller(p->positions, p->spatial - begin);
    const size_t start = b * row + range->first * p->spatial + begin, run = range->channels * positions;
    const size_t stride = run + 3, y_stride = p->in_place ? stride : run + 5;
    float *block = take(4 * ((rows - 1) * stride + run));
    copy_rows(block, stride, x + start, row, rows, run);
    if (step == STATISTICS) {
      const size_t seen = p->columns ? b : b * p->spatial + begin;
      bn_statistics(block, rows, stride, range->channels, positions, p->columns, seen, range->partial, range->fold);
    } else {
      float *to = p->in_place ? block : take(4 * ((rows - 1) * y_stride + run));
      bn_normalize(block, to, rows, stride, y_stride, range->channels, positions, p->columns, range->channel, range->fold);
      copy_rows(y + start, row, to, y_stride, rows, run);
      if (!p->in_place) free(to);
    }
    free(block);
  }
}

/* All steps for a range. `given` is what came in, and takes the means and variances. */
static void normalize(const problem *p, range range, double *given, const float *x, float *y) {
  const size_t series = range.channels * (p->columns ? p->spatial : 1);
  range.channel = take(sizeof *range.channel * range.channels);
  range.partial = take(8 * 4 * series);
  range.fold = take(4 * 3 * series);
  for (size_t c = 0; c < range.channels; c++) {
    const double *of_channel = given + range.first + c;
    range.channel[c].gamma = of_channel[0];
    range.channel[c].beta = of_channel[p->channels];
    if (p->training) continue;
    range.channel[c].mean_hi = of_channel[2 * p->channels];
    range.channel[c].mean_lo = 0;
    range.channel[c].variance = of_channel[3 * p->channels];
  }
  if (p->training) {
    const double count = (double)p->batch * (double)p->spatial;
    sweep(p, &range, STATISTICS, x, y);
    bn_moments(count, range.channels, p->spatial, p->columns, range.partial, range.channel);
  }
  bn_fold(p->epsilon, p->training, range.channels, p->spatial, p->columns, range.channel, range.fold);
  sweep(p, &range, NORMALIZE, x, y);
  for (size_t c = 0; c < range.channels; c++) {
    given[range.first + c] = range.channel[c].mean_hi + range.channel[c].mean_lo;
    given[range.first + c + p->channels] = range.channel[c].variance;
  }
  free(range.channel);
  free(range.partial);
  free(range.fold);
}

int main(void) {
  double head[9];
  while (fread(head, sizeof head, 1, stdin) == 1) {
    const problem p = {
        .batch = (size_t)head[0],
        .channels = (size_t)head[1],
        .spatial = (size_t)head[2],
        .columns = head[3] != 0,
        .training = head[4] != 0,
        .epsilon = head[5],
        .rows = (size_t)head[6],
        .positions = (size_t)head[7],
        .in_place = head[8] != 0,
    };
    const size_t n = p.batch * p.channels * p.spatial;
    double *given = take(8 * 4 * p.channels);
    float *x = take(4 * n), *y = take(4 * n);
    if (fread(given, 8, 4 * p.channels, stdin) != 4 * p.channels || fread(x, 4, n, stdin) != n) return 1;
    /* All channels at once, or one where slabs are cut. */
    const size_t channels = p.positions < p.spatial ? 1 : p.channels;
    for (size_t c = 0; c < p.channels; c += channels) normalize(&p, (range){.first = c, .channels = channels}, given, x, y);
    fwrite(y, 4, n, stdout);
    fwrite(given, 8, 2 * p.channels, stdout);
    free(given);
    free(x);
    free(y);
  }
  return 0;
}
