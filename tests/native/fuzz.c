/* Fuzzes the kernels (libFuzzer, with the sanitizers): any dimensions, any bits as X and G, any cut into ranges and pieces. In
 * addition to what the sanitizers find, it checks that statistics, outputs and gradients equal the reference's bit for bit,
 * however the tensor is cut and wherever the output is written; that nothing else is written; and that no variance is
 * negative. */
#include "batchnorm.h"

#include <math.h>

/* The fuzzer is to explore the kernels. Measuring the coverage of this file too would take most of its time. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#include "reference.c"
#include "run.c"

static bool same(double a, double b) { return (a == b && signbit(a) == signbit(b)) || (a != a && b != b); }

/* ---- the meaning of the fuzzer's bytes ------------------------------------------------------------------------------- */

typedef struct {
  const uint8_t *data;
  size_t size, read;
} bytes;

/* Starts again after the last byte, so that bytes never run out. */
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

/* From 1 to `most`; small numbers are more likely. */
static size_t up_to(bytes *b, size_t most) {
  const uint32_t w = word(b);
  return 1 + ((w >> 8) % most >> w % 6);
}

/* The most values of X; more would be slow. */
#define MOST 32768

static tensor any_tensor(bytes *b) {
  static const size_t borders[] = {
      4, 8, 16, 32, 64, BN_SHORT, BN_BLOCK_POSITIONS, 2 * BN_BLOCK_POSITIONS, 3 * BN_BLOCK_POSITIONS};
  const uint8_t kind = byte(b);
  tensor t = {.channels = up_to(b, 9), .columns = kind & 1 ? 4 * up_to(b, 256) - kind / 2 % 4 : 0};
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

/* Pieces as the header allows them; for bn_normalize, of any number of rows. */
static cut any_cut(bytes *b, const tensor *t) {
  const size_t height = t->columns ? t->columns : t->spatial < BN_SHORT ? BN_SHORT_ROWS : 1;
  const uint8_t flags = byte(b);
  cut cut = {
      .range = up_to(b, t->channels),
      .sums = {.rows = height * up_to(b, 3), .positions = t->spatial},
      .normalize = {.rows = up_to(b, 17), .positions = t->spatial},
      .input = {.rows = height * up_to(b, 3), .positions = t->spatial},
      .gap = flags & 7,
      .place = flags % 3,
      .guarded = flags & 16,
  };
  if (cut.range == 1 && !t->columns && t->spatial > BN_BLOCK_POSITIONS) {
    if (flags & 32) cut.sums = (piece){.rows = 1, .positions = BN_BLOCK_POSITIONS * up_to(b, 2)};
    if (flags & 64) cut.normalize = (piece){.rows = 1, .positions = BN_BLOCK_POSITIONS * up_to(b, 2)};
    if (flags & 128) cut.input = (piece){.rows = 1, .positions = BN_BLOCK_POSITIONS * up_to(b, 2)};
  }
  return cut;
}

/* Fills X with any bits. Since those are seldom close to each other, it also uses exponents around a limit, values around a base
 * (often the base itself), tiny values at the start of a block, and pairs that cancel. These land on either side of the limits
 * where double takes over. Some channels and rows may be left as they are. */
static void fill(bytes *b, const tensor *t, float *x) {
  static const uint8_t limits[] = {0, 12, 77, 82, 120, 183, 227, 248};
  /* Around 2¹⁰², the limit of means; or of an ordinary size; or all small. */
  const uint8_t kind = byte(b) % 8, any = byte(b), window = byte(b), limit = byte(b);
  const bool far = kind == 0, usual = kind == 1 || kind == 2 || kind == 3;
  const uint8_t flags = far ? 3 : usual ? 1 | (any & 128) : any, others = far || usual ? 0 : byte(b);
  const uint32_t row = (uint32_t)(t->channels * t->spatial), step = t->columns ? row : 1;
  const uint32_t low = far ? 201 + limit % 8 : usual ? (limit & 64 ? 84 : 120) + limit % 8 : limits[limit % 8] + limit / 8 % 8;
  const float factor = others & 4 ? 0x1p-60f : 0x1p-130f;
  float base = 0;
  /* So large that the distance to the next float32 is about the limit. */
  if (flags & 2) base = far ? 0x1p102f : flags & 4 ? any_float(b) : ldexpf(1.5f, (int)low - 127 + 22);
  for (uint32_t i = 0; i < t->batch * row; i++) {
    /* If the bytes simply repeated, there would be only a few different values. */
    uint32_t w = word(b) * (flags & 128 ? 2 * i + 1 : 1);
    const bool as_it_is = (others & 1 && i / t->spatial % t->channels % 2) || (others & 2 && i / row % 2);
    if (flags & 1 && !as_it_is) w = (w & 0x807fffff) | ((low + (w >> 23) % (1 + window % 8)) & 255) << 23;
    memcpy(x + i, &w, 4);
    if (as_it_is) continue;
    const size_t in_slab = i % t->spatial, in_block = t->columns ? i / row % t->columns : in_slab % BN_BLOCK_POSITIONS;
    if (flags & 8 && in_block < (size_t)(others >> 3)) x[i] *= factor;
    x[i] = flags & 16 && w % 8 ? base : base + x[i];
    if (flags & 32 && (t->columns ? i / row : in_slab) % 2) x[i] = base - x[i - step] + base;
  }
}

/* G is filled likewise, but in some channels all values are equal, or all but one. */
static void fill_gradients(bytes *b, const tensor *t, float *g) {
  fill(b, t, g);
  const uint8_t flags = byte(b), which = byte(b);
  const size_t count = t->batch * t->spatial, odd = word(b) % count;
  const float fixed = flags & 32 ? INFINITY : 0.1f, other = flags & 64 ? -INFINITY : any_float(b);
  for (size_t c = 0; c < t->channels; c++) {
    if (flags & 3 || !(which >> c % 8 & 1)) continue;
    const float value = flags & 4 ? fixed : g[c * t->spatial];
    for (size_t i = 0; i < count; i++)
      g[(i / t->spatial * t->channels + c) * t->spatial + i % t->spatial] =
          flags & 8 && i == odd ? (flags & 16 ? other : nextafterf(value, other)) : value;
  }
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

/* The result arrays of one run. */
typedef struct {
  float *y;
  bn_channel *channel;
  bn_gradient *gradient;
} results;

static void *copy(const void *from, size_t size) {
  void *to = malloc(size);
  require(to != NULL);
  if (from) memcpy(to, from, size);
  return to;
}

static results lend_results(const tensor *t, const bn_channel *given) {
  return (results){
      .y = copy(NULL, 4 * t->batch * t->channels * t->spatial),
      .channel = copy(given, sizeof *given * t->channels),
      .gradient = copy(NULL, sizeof(bn_gradient) * t->channels),
  };
}

static void give_results_back(results r) {
  free(r.y);
  free(r.channel);
  free(r.gradient);
}

/* The results of normalizing X or, if there is a G, of the gradient. */
static results results_of(const tensor *t, const cut *cut, const task *task, const float *x, const float *g,
                          const bn_channel *given) {
  const results r = lend_results(t, given);
  if (g)
    differentiate(t, cut, task, x, g, r.y, r.channel, r.gradient);
  else
    normalize(t, cut, task, x, r.y, r.channel);
  return r;
}

static void require_same_gradient(bool training, const bn_gradient *a, const bn_gradient *b) {
  require(same(a->gamma, b->gamma) && same(a->beta, b->beta));
  if (!training) return;
  require(same(a->g_hi, b->g_hi) && same(a->g_lo, b->g_lo) && same(a->mean_hi, b->mean_hi) && same(a->mean_lo, b->mean_lo));
  require(same(a->scale, b->scale) && same(a->slope, b->slope) && same(a->first, b->first) && a->uneven == b->uneven);
}

static void require_same(const tensor *t, const task *task, bool gradient, const results *a, const results *b) {
  for (size_t i = 0; i < t->batch * t->channels * t->spatial; i++) require(same(a->y[i], b->y[i]));
  for (size_t c = 0; c < t->channels; c++) {
    const bn_channel *k = a->channel + c, *l = b->channel + c;
    require(same(k->mean_hi, l->mean_hi) && same(k->mean_lo, l->mean_lo));
    require(same(k->variance, l->variance) && same(k->inv_std, l->inv_std));
    if (gradient) require_same_gradient(task->training, a->gradient + c, b->gradient + c);
  }
}

static slabs slabs_of(const tensor *t) {
  return (slabs){.batch = t->batch, .stride = t->channels * t->spatial, .spatial = t->spatial, .columns = t->columns};
}

static void require_statistics(const tensor *t, double epsilon, const float *x, const bn_channel *channel) {
  for (size_t c = 0; c < t->channels; c++) {
    bn_channel exact;
    reference(slabs_of(t), x + c * t->spatial, epsilon, &exact);
    require(same(channel[c].mean_hi, exact.mean_hi) && same(channel[c].mean_lo, exact.mean_lo));
    require(same(channel[c].variance, exact.variance) && !(channel[c].variance < 0));
  }
}

static void require_normalized(const tensor *t, const task *task, const float *x, const float *y, const bn_channel *channel) {
  for (size_t slab = 0; slab < t->batch * t->channels; slab++)
    for (size_t i = 0, at = slab * t->spatial; i < t->spatial; i++)
      require(same(y[at + i], normalized(slabs_of(t), task->training, task->relu, x + at, i, channel + slab % t->channels)));
}

/* G after the mask of relu. */
static float *masked(const tensor *t, const task *task, const float *x, const float *g, const bn_channel *channel) {
  float *left = copy(g, 4 * t->batch * t->channels * t->spatial);
  for (size_t slab = 0; slab < t->batch * t->channels && task->relu; slab++)
    for (size_t i = 0, at = slab * t->spatial; i < t->spatial; i++)
      if (!(normalized(slabs_of(t), task->training, false, x + at, i, channel + slab % t->channels) > 0)) left[at + i] = 0;
  return left;
}

static void require_gradients(const tensor *t, const task *task, const float *x, const float *g, const results *r) {
  float *left = masked(t, task, x, g, r->channel);
  for (size_t c = 0; c < t->channels; c++) {
    const bn_channel *channel = r->channel + c;
    const totals totals = totals_of(slabs_of(t), x + c * t->spatial, left + c * t->spatial, channel);
    const gradients of = gradients_of(slabs_of(t), totals, task->training, task->epsilon, channel);
    require_same_gradient(task->training, r->gradient + c, &of.numbers);
    bn_channel scaled = *channel;
    scaled.beta = scaled.mean_hi = scaled.mean_lo = 0;
    for (size_t b = 0; b < t->batch; b++)
      for (size_t i = 0, at = (b * t->channels + c) * t->spatial; i < t->spatial; i++)
        require(same(r->y[at + i], task->training ? input_gradient(x[at + i], left[at + i], &of)
                                                  : normalized(slabs_of(t), false, false, left + at, i, &scaled)));
  }
  free(left);
}

/* With a random gamma, a channel is seldom close to where float32 becomes too narrow. So this picks a gamma with which a number
 * that is proportional to it reaches a limit, or nearly does. (With relu it may miss, since another gamma may mask other
 * gradients.) */
static void limit_gamma(bytes *b, const tensor *t, const task *task, const float *x, const float *g, const results *r,
                        bn_channel *given) {
  static const double limits[] = {0x1p-126, 0x1p127, 0x1p-126, 0x1p127, 0x1p102, 0x1p102, 0x1p102, 1};
  float *left = masked(t, task, x, g, r->channel);
  for (size_t c = 0; c < t->channels; c++) {
    const uint8_t flags = byte(b), which = flags % 8;
    const totals totals = totals_of(slabs_of(t), x + c * t->spatial, left + c * t->spatial, r->channel + c);
    bn_channel k = r->channel[c];
    double gamma = k.gamma;
    /* First a gamma near it, then the smallest steps, to one that meets the limit exactly if there is one. */
    for (int step = -5; step < 5; step++) {
      const gradients of = gradients_of(slabs_of(t), totals, true, task->epsilon, &k);
      const double scale = of.numbers.scale, slope = of.numbers.slope;
      const double numbers[] = {scale, scale, slope, slope, of.constant, of.most, of.most, slope};
      const double ratio = limits[which] / fabs(numbers[which]);
      if (step > -5 && ratio == 1) break;
      if (step == -5) gamma *= ratio;
      k.gamma = gamma * (1 + step * 0x1p-52);
    }
    if (flags & 32) k.gamma = nextafter(k.gamma, flags & 64 ? 0 : k.gamma * INFINITY);
    if (isfinite(k.gamma)) given[c].gamma = k.gamma;
  }
  free(left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  bytes b = {data, size, 0};
  const uint8_t what = byte(&b);
  const bool gradient = what & 1;
  const tensor t = any_tensor(&b);
  const piece all = {.rows = t.batch, .positions = t.spatial};
  const cut whole = {.range = t.channels, .sums = all, .normalize = all, .input = all, .place = ON_X};
  cut one = any_cut(&b, &t), other = one;
  other.place = (one.place + 1) % 3;
  const uint8_t flags = byte(&b);
  const double epsilon = flags % 4 == 0   ? 0
                         : flags % 4 == 1 ? 1e-5
                         : flags % 4 == 2 ? (flags & 128 ? 1e-30 : 1e-40)
                                          : fabs(any_double(&b));

  const size_t n = t.batch * t.channels * t.spatial;
  float *x = copy(NULL, 4 * n), *g = copy(NULL, 4 * n);
  bn_channel *given = copy(NULL, sizeof *given * t.channels);
  for (size_t c = 0; c < t.channels; c++) {
    given[c] = (bn_channel){.gamma = c % 3 ? 1.5 : -1e-3, .beta = c % 2 ? 0.1 : -2, .variance = fabs(any_double(&b))};
    if (flags & 4) given[c].gamma = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 16) given[c].beta = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 32) given[c].mean_hi = flags & 8 ? any_double(&b) : any_float(&b);
    if (flags & 64) given[c].variance = 1;
  }
  fill(&b, &t, x);
  if (gradient) fill_gradients(&b, &t, g);

  /* In training the given statistics are ignored, except by a gradient that is told to use them. */
  for (size_t training = 0; training < 2; training++) {
    const task task = {.training = training, .given = !training || (gradient && what & 2), .relu = what & 4, .epsilon = epsilon};
    const float *gradients = gradient ? g : NULL;
    results expected = results_of(&t, &whole, &task, x, gradients, given);
    if (gradient && training && what & 24) {
      limit_gamma(&b, &t, &task, x, g, &expected, given);
      give_results_back(expected);
      expected = results_of(&t, &whole, &task, x, gradients, given);
    }
    if (gradient) {
      require_gradients(&t, &task, x, g, &expected);
    } else {
      if (training) require_statistics(&t, epsilon, x, expected.channel);
      require_normalized(&t, &task, x, expected.y, expected.channel);
    }
    const cut *cuts[] = {&one, &other};
    for (size_t k = 0; k < 2; k++) {
      const results again = results_of(&t, cuts[k], &task, x, gradients, given);
      require_same(&t, &task, gradient, &again, &expected);
      give_results_back(again);
    }
    give_results_back(expected);
  }

  free(x);
  free(g);
  free(given);
  return 0;
}

#pragma clang attribute pop
