/* `batchnorm` in workerd, which compiles no bytes while it serves a request: the bundler or runtime compiles the binary. */

// @ts-expect-error: TypeScript knows no types of a .wasm file
import * as binary from './batchnorm.wasm';
import { useModule } from './loader.js';

try {
  useModule(binary.default);
} catch {
  // The condition was set, but no module made of the file: the embedded binary is tried, as elsewhere.
}

export * from './index.js';
