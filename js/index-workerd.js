/* `batchnorm` in workerd, which cannot compile a binary while it serves a request: the bundler or the runtime compiles it beforehand. */

// @ts-expect-error: TypeScript knows no types of a .wasm file
import * as binary from './batchnorm.wasm';
import { useModule } from './loader.js';

try {
  useModule(binary.default);
} catch {
  // The `workerd` condition was set, but the file was not compiled: the embedded binary is tried, as elsewhere.
}

export * from './index.js';
