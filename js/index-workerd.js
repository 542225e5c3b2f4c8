/* `batchnorm` in workerd, which compiles no bytes while it serves a request: the bundler or runtime compiles the binary. */

// @ts-expect-error: TypeScript knows no types of a .wasm file
import module from './batchnorm.wasm';
import { take } from './kernel.js';

take(module);

export * from './index.js';
