/* Times and sizes as text, in the same units in the benchmarks, in the pages that they write, and in the demo. */

/** A number with three digits, never in the form 1.53e+3. @param {number} value */
export const threeDigits = (value) =>
  Math.abs(value) < 999.5 ? value.toPrecision(3) : Math.round(value).toLocaleString('en-US');

/** A value in the first unit in which it is below 1000. @param {number} value @param {[size: number, unit: string][]} units */
function inUnit(value, units) {
  const [size, unit] = units.find(([size]) => Math.abs(value / size) < 999.5) ?? units.at(-1);
  return `${threeDigits(value / size)} ${unit}`;
}

/** @param {number} nanoseconds */
export const duration = (nanoseconds) =>
  inUnit(nanoseconds, [
    [1, 'ns'],
    [1e3, 'µs'],
    [1e6, 'ms'],
    [1e9, 's'],
  ]);

/** The size of a file, as downloads are measured: 1 kB is 1000 bytes. @param {number} bytes */
export const fileSize = (bytes) =>
  inUnit(bytes, [
    [1e3, 'kB'],
    [1e6, 'MB'],
  ]);

/** A size in memory: 1 MiB is 2²⁰ bytes. From half a unit on, that unit is used. @param {number} bytes */
export function memorySize(bytes) {
  if (bytes < 2 ** 9) return `${bytes} bytes`;
  return bytes < 2 ** 19 ? `${threeDigits(bytes / 2 ** 10)} KiB` : `${threeDigits(bytes / 2 ** 20)} MiB`;
}
