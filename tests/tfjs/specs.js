/* TensorFlow.js' own specs of batch normalization, which are in its npm package, on the backends cpu and wasm. They are written for
 * Jasmine and only work in a bundle, which tfjs.js makes. globalThis.runSpecs(folder of the .wasm files) → { passed, failed }. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import jasmineRequire from 'jasmine-core/lib/jasmine-core/jasmine.js';
import { install } from '../../examples/tfjs/batchnorm-tfjs.js';

const jasmine = jasmineRequire.core(jasmineRequire);
const environment = jasmine.getEnv();
Object.assign(globalThis, jasmineRequire.interface(jasmine, environment));
environment.configure({ random: false });

globalThis.runSpecs = async (wasmPath) => {
  setWasmPaths(wasmPath);
  setTestEnvs(['cpu', 'wasm'].map((name) => ({ name, backendName: name, isDataSync: true })));
  await import('@tensorflow/tfjs-core/dist/ops/batchnorm_test'); // now that the backends are known: it makes specs for each of them
  const report = { passed: 0, failed: [] };
  const uninstall = install(tf);
  await new Promise((resolve) => {
    environment.addReporter({
      specDone({ status, fullName, failedExpectations }) {
        if (status === 'passed') report.passed++;
        else report.failed.push(`${fullName}: ${failedExpectations.map(({ message }) => message).join('; ')}`);
      },
      jasmineDone: resolve,
    });
    environment.execute();
  });
  uninstall();
  return report;
};
