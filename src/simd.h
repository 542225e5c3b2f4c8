/* The kernels' vector helpers. They use the vector extensions that clang and GCC share, so that the loops that ship as WebAssembly
 * SIMD also compile natively, under sanitizers and a fuzzer. */
#ifndef BN_SIMD_H
#define BN_SIMD_H

#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));
typedef int i32x4 __attribute__((vector_size(16)));

/* memcpy is the portable unaligned load or store in C. Each of these compiles to one instruction. */
static inline f32x4 load_f32x4(const float *from) {
  f32x4 v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

static inline void store_f32x4(float *to, f32x4 v) { __builtin_memcpy(to, &v, sizeof v); }

static inline f64x2 load_f64x2(const double *from) {
  f64x2 v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

static inline void store_f64x2(double *to, f64x2 v) { __builtin_memcpy(to, &v, sizeof v); }

static inline f32x4 splat_f32x4(float value) { return (f32x4){value, value, value, value}; }

static inline f64x2 splat_f64x2(double value) { return (f64x2){value, value}; }

/* `value` where `other` is above 0, and 0 elsewhere. */
static inline f32x4 where_positive_f32x4(f32x4 other, f32x4 value) { return (f32x4)((other > 0) & (i32x4)value); }

#ifdef __wasm_simd128__

/* The larger of a and b, lane by lane; a if they are equal or one is NaN. */
static inline f32x4 larger_f32x4(f32x4 a, f32x4 b) { return (f32x4)wasm_f32x4_pmax((v128_t)a, (v128_t)b); }

static inline f64x2 larger_f64x2(f64x2 a, f64x2 b) { return (f64x2)wasm_f64x2_pmax((v128_t)a, (v128_t)b); }

/* Loads and widens two values in one step, which is cheaper than splitting a vector of four. */
static inline f64x2 widen_f32x2(const float *from) { return (f64x2)wasm_f64x2_promote_low_f32x4(wasm_v128_load64_zero(from)); }

static inline f64x2 widen_low_f32x4(f32x4 v) { return (f64x2)wasm_f64x2_promote_low_f32x4((v128_t)v); }

static inline f64x2 widen_high_f32x4(f32x4 v) {
  return (f64x2)wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle((v128_t)v, (v128_t)v, 2, 3, 2, 3));
}

/* Rounds two values to float32 and stores them. */
static inline void store_narrow_f64x2(float *to, f64x2 v) {
  wasm_v128_store64_lane(to, wasm_f32x4_demote_f64x2_zero((v128_t)v), 0);
}

#else

static inline f32x4 larger_f32x4(f32x4 a, f32x4 b) {
  const i32x4 less = a < b;
  return (f32x4)((less & (i32x4)b) | (~less & (i32x4)a));
}

static inline f64x2 larger_f64x2(f64x2 a, f64x2 b) { return (f64x2){a[0] < b[0] ? b[0] : a[0], a[1] < b[1] ? b[1] : a[1]}; }

static inline f64x2 widen_f32x2(const float *from) { return (f64x2){from[0], from[1]}; }

static inline f64x2 widen_low_f32x4(f32x4 v) { return (f64x2){v[0], v[1]}; }

static inline f64x2 widen_high_f32x4(f32x4 v) { return (f64x2){v[2], v[3]}; }

static inline void store_narrow_f64x2(float *to, f64x2 v) {
  to[0] = (float)v[0];
  to[1] = (float)v[1];
}

#endif

#endif
