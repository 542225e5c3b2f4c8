/* Takes calls through the kernels, cut into ranges of channels and pieces as batchnorm.h allows. Every array has an allocation of its
 * own, so that a sanitizer sees any step outside; with guards, which are checked, if wanted. calls.c and fuzz.c include this. */
#include "batchnorm.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool holds) {
  if (!holds) abort();
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- memory: guarded, or ending where the sanitizer looks ------------------------------------------------------- */

/* No NaN, which an operation would hand on as it is. */
#define GUARD 0xa5

typedef struct {
  void *at;
  uint8_t *memory;
  size_t size, guard;
} array;

static void require_guard(const void *memory, size_t size) {
  for (size_t i = 0; i < size; i++) require(((const uint8_t *)memory)[i] == GUARD);
}

/* With a guard of 3 values on either side, vectors are aligned to no more than one value. Without, nothing is set, so that a
 * sanitizer sees it if that is used. */
static array lend(size_t count, size_t size, bool guarded) {
  array a = {.size = count * size, .guard = guarded ? 3 * size : 0};
  a.memory = malloc(a.size + 2 * a.guard);
  require(a.memory != NULL);
  if (guarded) memset(a.memory, GUARD, a.size + 2 * a.guard);
  a.at = a.memory + a.guard;
  return a;
}

static void give_back(array a) {
  require_guard(a.memory, a.guard);
  require_guard(a.memory + a.guard + a.size, a.guard);
  free(a.memory);
}

/* Rows of a piece, with a guard after each. */
typedef struct {
  array array;
  float *at;
  size_t rows, stride, run;
} rows;

static rows lend_rows(size_t count, size_t stride, size_t run, bool guarded) {
  const array a = lend((count - 1) * stride + run, 4, guarded);
  memset(a.at, GUARD, a.size);
  return (rows){.array = a, .at = a.at, .rows = count, .stride = stride, .run = run};
}

static void give_rows_back(rows r) {
  for (size_t row = 0; row + 1 < r.rows; row++) require_guard(r.at + row * r.stride + r.run, 4 * (r.stride - r.run));
  give_back(r.array);
}

static void copy_rows(float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows, size_t run) {
  for (size_t r = 0; r < rows; r++) memcpy(to + r * to_stride, from + r * from_stride, 4 * run);
}

/* ---- one call, cut in some way ------------------------------------------------------------------------------------ */

typedef struct {
  size_t batch, channels, spatial;
  bool columns;
} tensor;

/* Rows and positions of a piece. */
typedef struct {
  size_t rows, positions;
} piece;

typedef struct {
  size_t range; /* its channels */
  piece statistics, normalize;
  size_t gap; /* between the rows of a piece */
  bool in_place, guarded;
} cut;

/* The numbers of all channels, and memory for a range of them. */
typedef struct {
  size_t first, channels;
  array channel, partial, fold;
} range;

/* From a piece, which is X's from x on, to Y's from y on. */
static void normalize_piece(const tensor *t, const cut *cut, const range *range, rows from, size_t positions, const float *x,
                            float *y) {
  const size_t row = t->channels * t->spatial;
  const rows to = cut->in_place ? from : lend_rows(from.rows, from.run + 2 * cut->gap, from.run, cut->guarded);
  bn_normalize(from.at, to.at, from.rows, from.stride, to.stride, range->channels, positions, t->columns, range->channel.at,
               range->fold.at);
  copy_rows(y, row, to.at, to.stride, from.rows, from.run);
  if (cut->in_place) return;
  for (size_t r = 0; r < from.rows; r++) require(memcmp(from.at + r * from.stride, x + r * row, 4 * from.run) == 0);
  give_rows_back(to);
}

/* Pieces of statistics in order, others backwards. Each is in memory of its own. */
static void sweep(const tensor *t, const cut *cut, const range *range, bool statistics, double epsilon, const float *x,
                  float *y) {
  const piece piece = statistics ? cut->statistics : cut->normalize;
  const size_t row = t->channels * t->spatial;
  const size_t across = (t->spatial + piece.positions - 1) / piece.positions;
  const size_t pieces = (t->batch + piece.rows - 1) / piece.rows * across;
  for (size_t k = 0; k < pieces; k++) {
    const size_t at = statistics ? k : pieces - 1 - k;
    const size_t b = at / across * piece.rows, begin = at % across * piece.positions;
    const size_t count = smaller(piece.rows, t->batch - b), positions = smaller(piece.positions, t->spatial - begin);
    const size_t start = b * row + range->first * t->spatial + begin, run = range->channels * positions;
    const size_t seen = t->columns ? b : b * t->spatial + begin;
    const rows from = lend_rows(count, run + cut->gap, run, cut->guarded);
    copy_rows(from.at, from.stride, x + start, row, count, run);
    if (statistics)
      bn_statistics(from.at, count, from.stride, range->channels, positions, t->columns, epsilon, seen, range->partial.at,
                    range->fold.at);
    else
      normalize_piece(t, cut, range, from, positions, x + start, y + start);
    give_rows_back(from);
  }
}

static void run(const tensor *t, const cut *cut, bool training, double epsilon, const float *x, float *y, bn_channel *channel) {
  for (size_t c = 0; c < t->channels; c += cut->range) {
    const size_t channels = smaller(cut->range, t->channels - c), series = channels * (t->columns ? t->spatial : 1);
    const range range = {
        .first = c,
        .channels = channels,
        .channel = lend(channels, sizeof *channel, cut->guarded),
        .partial = lend(4 * series, 8, cut->guarded),
        .fold = lend(3 * series, 4, cut->guarded),
    };
    memcpy(range.channel.at, channel + c, range.channel.size);
    if (training) {
      sweep(t, cut, &range, true, epsilon, x, y);
      bn_moments((double)(t->batch * t->spatial), channels, t->spatial, t->columns, range.partial.at, range.channel.at);
    }
    bn_fold(epsilon, training, channels, t->spatial, t->columns, range.channel.at, range.fold.at);
    sweep(t, cut, &range, false, epsilon, x, y);
    memcpy(channel + c, range.channel.at, range.channel.size);
    give_back(range.channel);
    give_back(range.partial);
    give_back(range.fold);
  }
}
