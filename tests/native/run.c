/* Runs calls through the kernels, cut into ranges of channels and into pieces as batchnorm.h allows. Every array is allocated by
 * itself, so that a sanitizer sees any access outside it; optionally with guards, which are checked. calls.c and fuzz.c include
 * this. */
#include "batchnorm.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool holds) {
  if (!holds) abort();
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- memory: guarded, or ending where the sanitizer looks ------------------------------------------------------- */

/* Not a NaN: operations would pass that on unchanged. */
#define GUARD 0xa5

typedef struct {
  void *at;
  uint8_t *memory;
  size_t size, guard;
} array;

static void require_guard(const void *memory, size_t size) {
  for (size_t i = 0; i < size; i++) require(((const uint8_t *)memory)[i] == GUARD);
}

/* With guards, 3 values on either side, arrays are aligned to single values only. Without guards, memory is left unset, so that a
 * sanitizer reports reads of it. */
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

/* The rows of a piece, with a guard after each. */
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

/* ---- one call, cut into pieces ------------------------------------------------------------------------------------ */

typedef struct {
  size_t batch, channels, spatial, columns;
} tensor;

/* Statistics are computed from X or given; in inference they are always given. */
typedef struct {
  bool training, given, relu;
  double epsilon;
} task;

/* The size of a piece. */
typedef struct {
  size_t rows, positions;
} piece;

/* Where an output is written. If it is written on G, so is the masked G of relu. */
typedef enum { ELSEWHERE, ON_X, ON_G } place;

typedef struct {
  size_t range; /* channels per range */
  piece sums, normalize, input;
  size_t gap; /* between the rows of a piece */
  place place;
  bool guarded;
} cut;

/* The numbers of all channels, and working memory for one range of them. */
typedef struct {
  size_t first, channels;
  array channel, partial, fold;
} range;

static range lend_range(const tensor *t, const cut *cut, size_t first, size_t sums, size_t folded, const bn_channel *channel) {
  const size_t channels = smaller(cut->range, t->channels - first), series = channels * (t->columns ? t->spatial : 1);
  const range range = {
      .first = first,
      .channels = channels,
      .channel = lend(channels, sizeof *channel, cut->guarded),
      .partial = lend(sums * series, 8, cut->guarded),
      .fold = lend(folded * series, 4, cut->guarded),
  };
  memcpy(range.channel.at, channel + first, range.channel.size);
  return range;
}

static void give_range_back(range range, bn_channel *channel) {
  if (channel) memcpy(channel + range.first, range.channel.at, range.channel.size);
  give_back(range.channel);
  give_back(range.partial);
  give_back(range.fold);
}

/* A piece of a range: its start, and how many values of each series come before it. */
typedef struct {
  size_t rows, positions, start, run, seen;
} part;

static size_t count_parts(const tensor *t, piece piece) {
  return (t->batch + piece.rows - 1) / piece.rows * ((t->spatial + piece.positions - 1) / piece.positions);
}

static part part_of(const tensor *t, const range *range, piece piece, size_t k) {
  const size_t across = (t->spatial + piece.positions - 1) / piece.positions;
  const size_t b = k / across * piece.rows, begin = k % across * piece.positions;
  const size_t positions = smaller(piece.positions, t->spatial - begin);
  return (part){
      .rows = smaller(piece.rows, t->batch - b),
      .positions = positions,
      .start = (b * t->channels + range->first) * t->spatial + begin,
      .run = range->channels * positions,
      .seen = t->columns ? b : b * t->spatial + begin,
  };
}

/* Memory for a part, with `gaps` gaps between its rows. */
static rows lend_part(const cut *cut, part p, size_t gaps) {
  return lend_rows(p.rows, p.run + gaps * cut->gap, p.run, cut->guarded);
}

/* A copy of a part of X or G. */
static rows lend_copy(const tensor *t, const cut *cut, part p, size_t gaps, const float *of) {
  const rows copy = lend_part(cut, p, gaps);
  for (size_t r = 0; r < p.rows; r++) memcpy(copy.at + r * copy.stride, of + p.start + r * t->channels * t->spatial, 4 * p.run);
  return copy;
}

/* Checks that a copy is unchanged, and frees it. */
static void give_copy_back(const tensor *t, part p, rows copy, const float *of) {
  for (size_t r = 0; r < p.rows; r++)
    require(memcmp(copy.at + r * copy.stride, of + p.start + r * t->channels * t->spatial, 4 * p.run) == 0);
  give_rows_back(copy);
}

static void keep(const tensor *t, part p, rows output, float *y) {
  for (size_t r = 0; r < p.rows; r++)
    memcpy(y + p.start + r * t->channels * t->spatial, output.at + r * output.stride, 4 * p.run);
}

/* Computes the statistics of the range, unless they are given, and the fold. */
static void find_statistics(const tensor *t, const cut *cut, const task *task, const range *range, const float *x) {
  for (size_t k = 0; k < count_parts(t, cut->sums) && !task->given; k++) {
    const part p = part_of(t, range, cut->sums, k);
    const rows from = lend_copy(t, cut, p, 1, x);
    bn_statistics(from.at, p.rows, from.stride, range->channels, p.positions, t->columns, task->epsilon, p.seen,
                  range->partial.at, range->fold.at);
    give_copy_back(t, p, from, x);
  }
  if (!task->given)
    bn_moments((double)(t->batch * t->spatial), range->channels, t->spatial, t->columns, range->partial.at, range->channel.at);
  bn_fold(task->epsilon, task->training, range->channels, t->spatial, t->columns, range->channel.at, range->fold.at);
}

static void normalize_part(const tensor *t, const range *range, bool relu, part p, rows from, rows to) {
  bn_normalize(from.at, to.at, p.rows, from.stride, to.stride, range->channels, p.positions, t->columns, relu, range->channel.at,
               range->fold.at);
}

/* Sums need the pieces in order; all else runs backwards, to show that order does not matter there. */
static void normalize(const tensor *t, const cut *cut, const task *task, const float *x, float *y, bn_channel *channel) {
  for (size_t c = 0; c < t->channels; c += cut->range) {
    const range range = lend_range(t, cut, c, 4, 3, channel);
    find_statistics(t, cut, task, &range, x);
    for (size_t k = count_parts(t, cut->normalize); k-- > 0;) {
      const part p = part_of(t, &range, cut->normalize, k);
      const rows from = lend_copy(t, cut, p, 1, x), to = cut->place == ON_X ? from : lend_part(cut, p, 2);
      normalize_part(t, &range, task->relu, p, from, to);
      keep(t, p, to, y);
      if (to.at != from.at) give_copy_back(t, p, from, x);
      give_rows_back(to);
    }
    give_range_back(range, channel);
  }
}

/* A part of G, masked if there is a relu. */
static rows lend_gradients(const tensor *t, const cut *cut, const task *task, const range *range, part p, rows from,
                           const float *g) {
  const rows given = lend_copy(t, cut, p, 3, g);
  if (!task->relu) return given;
  const rows y = lend_part(cut, p, 2), to = cut->place == ON_G ? given : lend_part(cut, p, 4);
  normalize_part(t, range, true, p, from, y);
  bn_mask(y.at, given.at, to.at, p.rows, y.stride, given.stride, to.stride, p.run);
  give_rows_back(y);
  if (to.at != given.at) give_copy_back(t, p, given, g);
  return to;
}

static void sum_gradients(const tensor *t, const cut *cut, const task *task, const range *range, const float *x, const float *g,
                          bn_gradient *gradient) {
  for (size_t k = 0; k < count_parts(t, cut->sums); k++) {
    const part p = part_of(t, range, cut->sums, k);
    const rows from = lend_copy(t, cut, p, 1, x), gradients = lend_gradients(t, cut, task, range, p, from, g);
    bn_gradient_sums(from.at, gradients.at, p.rows, from.stride, gradients.stride, range->channels, p.positions, t->columns,
                     p.seen, range->partial.at, gradient, range->fold.at);
    give_copy_back(t, p, from, x);
    if (task->relu)
      give_rows_back(gradients);
    else
      give_copy_back(t, p, gradients, g);
  }
  bn_gradient_fold((double)(t->batch * t->spatial), task->epsilon, task->training, range->channels, t->spatial, t->columns,
                   range->partial.at, range->channel.at, gradient, range->fold.at);
}

/* In inference with the numbers of `scaled`, whose mean and beta are 0. */
static void find_input_gradients(const tensor *t, const cut *cut, const task *task, const range *scaled, const range *range,
                                 const float *x, const float *g, float *y, const bn_gradient *gradient) {
  const piece piece = task->training ? cut->input : cut->normalize;
  for (size_t k = count_parts(t, piece); k-- > 0;) {
    const part p = part_of(t, range, piece, k);
    const rows from = lend_copy(t, cut, p, 1, x), gradients = lend_gradients(t, cut, task, range, p, from, g);
    const rows to = cut->place == ON_X ? from : cut->place == ON_G ? gradients : lend_part(cut, p, 2);
    if (task->training)
      bn_gradient_input(from.at, gradients.at, to.at, p.rows, from.stride, gradients.stride, to.stride, range->channels,
                        p.positions, t->columns, gradient, range->fold.at);
    else
      normalize_part(t, scaled, false, p, gradients, to);
    keep(t, p, to, y);
    if (to.at != from.at) give_copy_back(t, p, from, x);
    if (to.at != gradients.at && task->relu) give_rows_back(gradients);
    if (to.at != gradients.at && !task->relu) give_copy_back(t, p, gradients, g);
    give_rows_back(to);
  }
}

static void differentiate(const tensor *t, const cut *cut, const task *task, const float *x, const float *g, float *y,
                          bn_channel *channel, bn_gradient *gradient) {
  for (size_t c = 0; c < t->channels; c += cut->range) {
    const range range = lend_range(t, cut, c, 6, 8, channel), scaled = lend_range(t, cut, c, 0, 3, channel);
    const array numbers = lend(range.channels, sizeof *gradient, cut->guarded);
    for (size_t k = 0; k < range.channels && !task->training; k++) {
      bn_channel *of = (bn_channel *)scaled.channel.at + k;
      of->beta = of->mean_hi = of->mean_lo = 0;
    }
    find_statistics(t, cut, task, &range, x);
    sum_gradients(t, cut, task, &range, x, g, numbers.at);
    if (!task->training) bn_fold(task->epsilon, false, range.channels, t->spatial, t->columns, scaled.channel.at, scaled.fold.at);
    find_input_gradients(t, cut, task, &scaled, &range, x, g, y, numbers.at);
    memcpy(gradient + c, numbers.at, numbers.size);
    give_back(numbers);
    give_range_back(scaled, NULL);
    give_range_back(range, channel);
  }
}
