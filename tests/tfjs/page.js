/* The checks in a page that has loaded TensorFlow.js by script elements. Bundled by tfjs.js. Leaves a report for the driver. */
import { install } from '../../examples/tfjs/batchnorm-tfjs.js';
import { checksOf, runCheck } from './checks.js';

(async () => {
  const { tf } = globalThis;
  tf.wasm.setWasmPaths('./');
  const report = { passed: [], failed: [] };
  for (const backend of ['wasm', 'cpu']) {
    await tf.setBackend(backend);
    if (backend === 'wasm') report.threads = tf.backend().wasm.HEAPU8.buffer.constructor.name === 'SharedArrayBuffer';
    for (const [name, check] of Object.entries(checksOf(tf, install, backend)))
      try {
        await runCheck(tf, backend, check);
        report.passed.push(`${backend}: ${name}`);
      } catch (error) {
        report.failed.push(`${backend}: ${name}: ${error.stack}`);
      }
  }
  globalThis.report = report;
})();
