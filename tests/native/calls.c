/* Runs the kernels natively on calls from standard input and writes the results, which native.js compares with WebAssembly's bit
 * by bit. Only what batchnorm.h asks for is set, so that a sanitizer reports the use of anything else.
 *
 * A call is 12 doubles: batch, channels, spatial, columns, training, whether statistics are given, relu, epsilon, the rows and
 * the positions of a piece, where the output is written (`place` in run.c), and whether the gradient is wanted. Then follow
 * gamma, beta, mean and variance (doubles, one per channel), then X, and for the gradient G (floats). The result is the
 * normalized X, then mean (mean_hi + mean_lo) and variance; or the gradients of X, gamma and beta. With rows = batch and
 * positions = spatial there is only one piece. */
#include <stdio.h>

#include "run.c"

int main(void) {
  double head[12];
  while (fread(head, sizeof head, 1, stdin) == 1) {
    const tensor t = {
        .batch = (size_t)head[0], .channels = (size_t)head[1], .spatial = (size_t)head[2], .columns = (size_t)head[3]};
    const task task = {.training = head[4] != 0, .given = head[5] != 0, .relu = head[6] != 0, .epsilon = head[7]};
    const piece piece = {.rows = (size_t)head[8], .positions = (size_t)head[9]};
    const bool backward = head[11] != 0;
    const cut cut = {
        /* All channels at once; one at a time if slabs are cut. */
        .range = piece.positions < t.spatial ? 1 : t.channels,
        .sums = piece,
        .normalize = piece,
        .input = piece,
        .gap = 3,
        .place = (place)head[10],
    };
    const size_t n = t.batch * t.channels * t.spatial;
    double *numbers = malloc(8 * 4 * t.channels);
    float *x = malloc(4 * n), *g = malloc(4 * n), *y = malloc(4 * n);
    bn_channel *channel = malloc(sizeof *channel * t.channels);
    bn_gradient *gradient = malloc(sizeof *gradient * t.channels);
    require(numbers && x && g && y && channel && gradient);
    if (fread(numbers, 8, 4 * t.channels, stdin) != 4 * t.channels || fread(x, 4, n, stdin) != n) return 1;
    if (backward && fread(g, 4, n, stdin) != n) return 1;
    for (size_t c = 0; c < t.channels; c++) {
      channel[c].gamma = numbers[c];
      channel[c].beta = numbers[t.channels + c];
      if (!task.given) continue;
      channel[c].mean_hi = numbers[2 * t.channels + c];
      channel[c].mean_lo = 0;
      channel[c].variance = numbers[3 * t.channels + c];
    }
    if (backward)
      differentiate(&t, &cut, &task, x, g, y, channel, gradient);
    else
      normalize(&t, &cut, &task, x, y, channel);
    for (size_t c = 0; c < t.channels; c++) {
      numbers[c] = backward ? gradient[c].gamma : channel[c].mean_hi + channel[c].mean_lo;
      numbers[t.channels + c] = backward ? gradient[c].beta : channel[c].variance;
    }
    fwrite(y, 4, n, stdout);
    fwrite(numbers, 8, 2 * t.channels, stdout);
    free(numbers);
    free(x);
    free(g);
    free(y);
    free(channel);
    free(gradient);
  }
  return 0;
}
