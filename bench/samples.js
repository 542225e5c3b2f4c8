/* Statistics of timings. They are not in cases.js, so that a page can show results without loading the problems. */

export const COPY = 'copy X → out';

/** The quartiles of samples: [first, median, third]. */
export function quartiles(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]);
}
