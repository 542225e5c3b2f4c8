/* Fuzzes the kernels (libFuzzer, with the sanitizers): any dimensions, any bits as X, any cut into ranges and pieces. Beyond
 * what the sanitizers see, the statistics are the reference's to the bit, neither a cut nor a separate Y changes a bit, nothing
 * is written where it should not be, and no variance comes out negative. */
#include "batchnorm.h"

#include <math.h>

/* What the fuzzer explores is the kernels. To watch this file too would take most of its time. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#include "reference.c"
#include "run.c"

static bool same(double a, double b) { return (a == b && signbit(a) == signbit(b)) || (a != a && b != b); }

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

static void require_reference(const tensor *t, double epsilon, const float *x, const bn_channel *channel) {
  for (size_t c = 0; c < t->channels; c++) {
    bn_channel exact;
    reference(x + c * t->spatial, t->batch, t->channels * t->spatial, t->spatial, t->columns, epsilon, &exact);
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
  const double epsilon = flags % 4 == 0   ? 0
                         : flags % 4 == 1 ? 1e-5
                         : flags % 4 == 2 ? (flags & 128 ? 1e-30 : 1e-40)
                                          : fabs(any_double(&b));

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
    if (training) require_reference(&t, epsilon, x, channel);
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
