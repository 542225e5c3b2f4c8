/* Fuzzes the kernels (libFuzzer, with the sanitizers): any dimensions, any bits as X, any cut into ranges and pieces. Beyond
 * what the sanitizers see, the statistics are the reference's to the bit, neither a cut nor a separate Y changes a bit, nothing
 * is written where it should not be, and no variance comes out negative. */
#include "batchnorm.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What the fuzzer explores is the kernels. To watch this file too would take most of its time. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#include "reference.c"

static void require(bool holds) {
  if (!holds) abort();
}

static bool same(double a, double b) { return (a == b && signbit(a) == signbit(b)) || (a != a && b != b); }

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

/* With a guard of 3 values on either side, vectors are aligned to no more than a value. */
static array lend(size_t count, size_t size, bool guarded) {
  array a = {.size = count * size, .guard = guarded ? 3 * size : 0};
  a.memory = malloc(a.size + 2 * a.guard);
  require(a.memory != NULL);
  memset(a.memory, GUARD, a.size + 2 * a.guard);
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
  return (rows){.array = a, .at = a.at, .rows = count, .stride = stride, .run = run};
}

static void give_rows_back(rows r) {
  for (size_t row = 0; row + 1 < r.rows; row++) require_guard(r.at + row * r.stride + r.run, 4 * (r.stride - r.run));
  give_back(r.array);
}

static void copy_rows(float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows, size_t run) {
  for (size_t r = 0; r < rows; r++) memcpy(to + r * to_stride, from + r * from_stride, 4 * run);
}

/* ---- a call, cut in some way ------------------------------------------------------------------------------------ */

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
static void sweep(const tensor *t, const cut *cut, const range *range, bool statistics, const float *x, float *y) {
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
      bn_statistics(from.at, count, from.stride, range->channels, positions, t->columns, seen, range->partial.at, range->fold.at);
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
      sweep(t, cut, &range, true, x, y);
      bn_moments((double)(t->batch * t->spatial), channels, t->spatial, t->columns, range.partial.at, range.channel.at);
    }
    bn_fold(epsilon, training, channels, t->spatial, t->columns, range.channel.at, range.fold.at);
    sweep(t, cut, &range, false, x, y);
    memcpy(channel + c, range.channel.at, range.channel.size);
    give_back(range.channel);
    give_back(range.partial);
    give_back(range.fold);
  }
}

/* ---- what the fuzzer's bytes mean ------------------------------------------------------------------------------- */

typedef struct {
  const uint8_t *data;
  size_t size, read;
} bytes;

/* They never end. */
static uint8_t byte(bytes *b) {
  if (b->read == b->size) b->read = 0;
  return b->data[b->read++];
}

static uint32_t word(bytes *b) {
  uint32_t w = 0;
  for (size_t k = 0; k < 4; k++) w = w << 8 | byte(b);
  return w;
}

static float any_float(bytes *b) {
  const uint32_t w = word(b);
  float value;
  memcpy(&value, &w, sizeof value);
  return value;
}

static double any_double(bytes *b) {
  const uint64_t w = (uint64_t)word(b) << 32 | word(b);
  double value;
  memcpy(&value, &w, sizeof value);
  return value;
}

/* From 1 to most, more often little. */
static size_t up_to(bytes *b, size_t most) {
  const uint32_t w = word(b);
  return 1 + ((w >> 8) % most >> w % 6);
}

/* Values of X: more would be slow. */
#define MOST 32768

static tensor any_tensor(bytes *b) {
  static const size_t borders[] = {
      4, 8, 16, 32, 64, BN_SHORT, BN_BLOCK_POSITIONS, 2 * BN_BLOCK_POSITIONS, 3 * BN_BLOCK_POSITIONS};
  const uint8_t kind = byte(b);
  tensor t = {.channels = up_to(b, 9), .columns = kind & 1};
  if (t.columns)
    t.spatial = up_to(b, 40);
  else if (kind & 2)
    t.spatial = borders[kind >> 5] - 3 + up_to(b, 5);
  else
    t.spatial = up_to(b, kind & 4 ? BN_SHORT : 3 * BN_BLOCK_POSITIONS);
  if (t.spatial > BN_SHORT) t.channels = 1 + t.channels % 2;
  t.batch = up_to(b, smaller(MOST / (t.channels * t.spatial), t.columns ? 2000 : 70));
  return t;
}

/* Pieces as the header allows them; of bn_normalize any number of rows. */
static cut any_cut(bytes *b, const tensor *t) {
  const size_t height = t->columns ? BN_COLUMN_ROWS : t->spatial < BN_SHORT ? BN_SHORT_ROWS : 1;
  const uint8_t flags = byte(b);
  cut cut = {
      .range = up_to(b, t->channels),
      .statistics = {.rows = height * up_to(b, 3), .positions = t->spatial},
      .normalize = {.rows = up_to(b, 17), .positions = t->spatial},
      .gap = flags & 7,
      .in_place = flags & 8,
      .guarded = flags & 16,
  };
  if (cut.range == 1 && !t->columns && t->spatial > BN_BLOCK_POSITIONS) {
    if (flags & 32) cut.statistics = (piece){.rows = 1, .positions = BN_BLOCK_POSITIONS * up_to(b, 2)};
    if (flags & 64) cut.normalize = (piece){.rows = 1, .positions = BN_BLOCK_POSITIONS * up_to(b, 2)};
  }
  return cut;
}

/* Any bits; or, since those are seldom close to each other, a few exponents about a limit, values about a base, most of them
 * the base itself, tiny ones at the start of a block, and pairs that cancel: so that double takes over, or just not. Some
 * channels and rows may stay as they are. */
static void fill(bytes *b, const tensor *t, float *x) {
  static const uint8_t limits[] = {0, 12, 77, 82, 120, 183, 227, 248};
  const uint8_t flags = byte(b), window = byte(b), others = byte(b), limit = byte(b);
  const uint32_t low = limits[limit % 8] + limit / 8 % 8, row = (uint32_t)(t->channels * t->spatial), step = t->columns ? row : 1;
  const float factor = others & 4 ? 0x1p-60f : 0x1p-130f;
  float base = 0;
  /* Its own neighbors are about as far from it as the limit says. */
  if (flags & 2) base = flags & 4 ? any_float(b) : ldexpf(1.5f, (int)low - 127 + 22);
  for (uint32_t i = 0; i < t->batch * row; i++) {
    /* The bytes over and over again would be the same few values. */
    uint32_t w = word(b) * (flags & 128 ? 2 * i + 1 : 1);
    const bool as_it_is = (others & 1 && i / t->spatial % t->channels % 2) || (others & 2 && i / row % 2);
    if (flags & 1 && !as_it_is) w = (w & 0x807fffff) | ((low + (w >> 23) % (1 + window % 8)) & 255) << 23;
    memcpy(x + i, &w, 4);
    if (as_it_is) continue;
    const size_t in_slab = i % t->spatial, in_block = t->columns ? i / row % BN_COLUMN_ROWS : in_slab % BN_BLOCK_POSITIONS;
    if (flags & 8 && in_block < (size_t)(others >> 3)) x[i] *= factor;
    x[i] = flags & 16 && w % 8 ? base : base + x[i];
    if (flags & 32 && (t->columns ? i / row : in_slab) % 2) x[i] = base - x[i - step] + base;
  }
}

static void require_same(const tensor *t, const float *x, const float *y, const bn_channel *a, const bn_channel *b) {
  for (size_t i = 0; i < t->batch * t->channels * t->spatial; i++) require(same(x[i], y[i]));
  for (size_t c = 0; c < t->channels; c++)
    require(same(a[c].mean_hi, b[c].mean_hi) && same(a[c].mean_lo, b[c].mean_lo) && same(a[c].variance, b[c].variance) &&
            same(a[c].inv_std, b[c].inv_std));
}

static void require_reference(const tensor *t, const float *x, const bn_channel *channel) {
  for (size_t c = 0; c < t->channels; c++) {
    bn_channel exact;
    reference(x + c * t->spatial, t->batch, t->channels * t->spatial, t->spatial, t->columns, &exact);
    require(same(channel[c].mean_hi, exact.mean_hi) && same(channel[c].mean_lo, exact.mean_lo));
    require(same(channel[c].variance, exact.variance) && !(channel[c].variance < 0));
  }
}

/* Where float32 must not be used, a result is that of double, and only there. */
static void require_normalized(const tensor *t, bool training, const float *x, const float *y, const bn_channel *channel) {
  for (size_t i = 0; i < t->batch * t->channels * t->spatial; i++) {
    const bn_channel *k = channel + i / t->spatial % t->channels;
    const double scale = k->gamma * k->inv_std, shift = k->beta - k->mean_lo * scale;
    const float center = (float)k->mean_hi;
    const size_t in_piece = i % t->spatial % BN_BLOCK_POSITIONS, left = t->spatial - (i % t->spatial - in_piece);
    const bool in_float = (k->gamma == 0 || (fabs(scale) >= 0x1p-126 && fabs(scale) <= 0x1p127)) && fabs(k->mean_hi) < 0x1p102 &&
                          fabs(shift) < 0x1p102 &&
                          (training ? !(k->variance > 0 && k->variance < 0x1p-230) : shift == (float)shift) &&
                          (t->columns || left < 64 || !tiny(x + i - in_piece, 8, center, 0x1p-115f));
    const double in_double = ((x[i] - k->mean_hi) - k->mean_lo) * k->inv_std * k->gamma + k->beta;
    require(same(y[i], in_float ? (x[i] - center) * (float)scale + (float)shift : (float)in_double));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  bytes b = {data, size, 0};
  const tensor t = any_tensor(&b);
  const cut whole = {
      .range = t.channels,
      .statistics = {.rows = t.batch, .positions = t.spatial},
      .normalize = {.rows = t.batch, .positions = t.spatial},
      .in_place = true,
  };
  cut one = any_cut(&b, &t), other = one;
  other.in_place = !one.in_place;
  const uint8_t flags = byte(&b);
  const double epsilon = flags % 4 == 0 ? 0 : flags % 4 == 1 ? 1e-5 : flags % 4 == 2 ? 1e-40 : fabs(any_double(&b));

  const size_t n = t.batch * t.channels * t.spatial, numbers = sizeof(bn_channel) * t.channels;
  float *x = malloc(4 * n), *expected = malloc(4 * n), *y = malloc(4 * n);
  bn_channel *given = malloc(numbers), *channel = malloc(numbers), *of_cut = malloc(numbers);
  require(x && expected && y && given && channel && of_cut);
  for (size_t c = 0; c < t.channels; c++) {
    given[c] = (bn_channel){.gamma = 1.5, .beta = c % 2 ? 0.1 : -2, .variance = fabs(any_double(&b))};
    if (flags & 4) given[c].gamma = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 16) given[c].beta = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 32) given[c].mean_hi = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 64) given[c].variance = 1;
  }
  fill(&b, &t, x);

  /* Inference takes what is given as statistics, training ignores it. */
  for (size_t training = 0; training < 2; training++) {
    memcpy(channel, given, numbers);
    run(&t, &whole, training, epsilon, x, expected, channel);
    if (training) require_reference(&t, x, channel);
    require_normalized(&t, training, x, expected, channel);
    const cut *cuts[] = {&one, &other};
    for (size_t k = 0; k < 2; k++) {
      memcpy(of_cut, given, numbers);
      run(&t, cuts[k], training, epsilon, x, y, of_cut);
      require_same(&t, y, expected, of_cut, channel);
    }
  }

  free(x);
  free(expected);
  free(y);
  free(given);
  free(channel);
  free(of_cut);
  return 0;
}

#pragma clang attribute pop
