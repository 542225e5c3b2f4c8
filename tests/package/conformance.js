/* The checks for every environment: the worked examples, the golden bits with tensors in every place, the error bounds, and a bad
 * input. It also runs in pages and workers, so it returns its findings, and imports only plain code. */
import { argumentsOf, GROUPS, gradientOptionsOf, hashesOf, WAYS } from '../golden.js';
import { golden } from '../golden-hashes.js';
import { gradBetaBound, gradGammaBound, gradInputBound, gradientReference } from '../gradient-reference.js';
import { outputBound, reference } from '../reference.js';

/**
 * @param {{ batchNormalization: Function, batchNormalizationGradient: Function, backend: () => string, Arena: Function }} library
 *   'batchnorm'
 * @param {{ batchNormalization: Function, batchNormalizationGradient: Function }} plain 'batchnorm/js'
 * @param {any[]} examples worked-examples.json
 * @returns {{ backend: string, checks: number, failures: string[] }}
 */
export function conform(library, plain, examples) {
  const failures = [];
  let checks = 0;
  const check = (holds, message) => {
    checks++;
    if (!holds) failures.push(message);
  };
  const near = (a, b) => Math.abs(a - b) <= 2e-6 * Math.max(1, Math.abs(b));
  const SLACK = 1 + 2 ** -20;
  const withinBounds = (problem, step, [output]) => {
    const { X, gamma, beta, axis, relu, channels } = problem;
    const spatial = axis === 1 ? X.shape[2] * X.shape[3] : 1;
    const like = { data: X.data, shape: [X.data.length / channels / spatial, channels, spatial, 1] };
    const exact = reference(like, ...argumentsOf(problem, step));
    return exact.output.every((y, i) => {
      const c = Math.floor(i / spatial) % channels;
      const expected = relu ? Math.max(y, 0) : y;
      return Math.abs(output[i] - expected) <= outputBound(step.training, exact.p[i], gamma[c], beta[c]) * SLACK;
    });
  };
  const gradientWithinBounds = (problem, step, [gradInput, gradGamma, gradBeta], isPlain) => {
    const { training } = step;
    const exact = gradientReference(problem.gradOutput, problem.X, gradientOptionsOf(problem, step));
    const { P, R, normalized } = exact;
    const near = (actual, expected, bound) => Math.abs(actual - expected) <= bound * SLACK;
    return exact.channels.every((channel, c) => {
      // If rounding decides about the mask of relu, more than one result is right.
      if (channel.uncertain > 0) return true;
      const [ofGamma, ofBeta] = [exact.gradGamma[c], exact.gradBeta[c]];
      return (
        channel.positions.every((i) =>
          near(gradInput[i], exact.gradInput[i], gradInputBound(training, P[i], R[i], normalized[i], channel, isPlain)),
        ) &&
        near(gradGamma[c], ofGamma, gradGammaBound(training, ofGamma, channel, isPlain)) &&
        near(gradBeta[c], ofBeta, gradBetaBound(ofBeta, channel, isPlain))
      );
    });
  };

  for (const { name, arguments: given, result } of examples) {
    const X = { data: Float32Array.from(given.X.data), shape: given.X.shape };
    const { gamma, beta, runningMean, runningVar, momentum, epsilon, training } = given;
    const results = library.batchNormalization(X, gamma, beta, runningMean, runningVar, momentum, epsilon, training);
    [result.output, result.runningMean, result.runningVar].forEach((numbers, k) => {
      check(
        numbers.every((number, i) => near(results[k].data[i], number)),
        `the worked example ${name}`,
      );
    });
  }

  const backend = library.backend();
  const holdBits = (functions, computes, way, look) => {
    for (const [name, value] of Object.entries(hashesOf(functions, GROUPS[computes], way, look)))
      check(value === golden[computes][name], `${name}, ${way}, has other bits than ${computes} has elsewhere: ${value}`);
  };
  for (const [functions, computes] of [
    [library, backend],
    [plain, 'js'],
  ])
    holdBits(functions, computes, 'by copies', (name, problem, step, results) => {
      const { X, axis, bounded } = problem;
      if (!bounded) return;
      const holds = step.gradient
        ? gradientWithinBounds(problem, step, results, computes === 'js' || X.data.length <= 128)
        : withinBounds(problem, step, results);
      check(holds, `${name}: [${X.shape}], axis ${axis}, by ${computes}, is out of its bounds`);
    });
  for (const way of Object.keys(WAYS)) if (way !== 'by copies') holdBits(library, backend, way);

  try {
    library.batchNormalization({ data: new Float32Array(6), shape: [2, 3, 1, 1] }, [1, 2], null);
    check(false, 'a bad gamma was taken');
  } catch (error) {
    const message = 'batchNormalization: gamma must hold 3 values, one per channel of X [2, 3, 1, 1]; got 2';
    check(error instanceof RangeError && error.message === message, `a bad gamma: ${error}`);
  }
  return { backend, checks, failures };
}
