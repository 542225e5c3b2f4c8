/* Runs the kernels natively on calls read from standard input and writes the results, for native.js to compare with the
 * WebAssembly's bit by bit. Nothing is set that batchnorm.h does not ask for, so that a sanitizer sees it if that is used.
 *
 * A call is 9 doubles: batch, channels, spatial, columns, training, epsilon, rows and positions of a piece, and whether Y is X;
 * then gamma, beta, mean and variance (doubles, one per channel), then X (floats). The result is X normalized, then mean (mean_hi +
 * mean_lo) and variance. rows = batch and positions = spatial make one piece. */
#include <stdio.h>

#include "run.c"

int main(void) {
  double head[9];
  while (fread(head, sizeof head, 1, stdin) == 1) {
    const tensor t = {.batch = (size_t)head[0], .channels = (size_t)head[1], .spatial = (size_t)head[2], .columns = head[3] != 0};
    const bool training = head[4] != 0;
    const piece piece = {.rows = (size_t)head[6], .positions = (size_t)head[7]};
    const cut cut = {
        /* All channels at once, or one where slabs are cut. */
        .range = piece.positions < t.spatial ? 1 : t.channels,
        .statistics = piece,
        .normalize = piece,
        .gap = 3,
        .in_place = head[8] != 0,
    };
    const size_t n = t.batch * t.channels * t.spatial;
    double *given = malloc(8 * 4 * t.channels);
    float *x = malloc(4 * n), *y = malloc(4 * n);
    bn_channel *channel = malloc(sizeof *channel * t.channels);
    require(given && x && y && channel);
    if (fread(given, 8, 4 * t.channels, stdin) != 4 * t.channels || fread(x, 4, n, stdin) != n) return 1;
    for (size_t c = 0; c < t.channels; c++) {
      channel[c].gamma = given[c];
      channel[c].beta = given[t.channels + c];
      if (training) continue;
      channel[c].mean_hi = given[2 * t.channels + c];
      channel[c].mean_lo = 0;
      channel[c].variance = given[3 * t.channels + c];
    }
    run(&t, &cut, training, head[5], x, y, channel);
    for (size_t c = 0; c < t.channels; c++) {
      given[c] = channel[c].mean_hi + channel[c].mean_lo;
      given[t.channels + c] = channel[c].variance;
    }
    fwrite(y, 4, n, stdout);
    fwrite(given, 8, 2 * t.channels, stdout);
    free(given);
    free(x);
    free(y);
    free(channel);
  }
  return 0;
}
