/* What is said of timings: apart from the cases, so that a page need not load these to show it. */

export const COPY = 'copy X → out';

/** The quartiles of some samples: [first, median, third]. */
export function quartiles(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]);
}
