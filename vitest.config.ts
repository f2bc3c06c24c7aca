import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongFirst } from './infra/local/src/long-first.ts';

/**
 * One project per workspace package, so that each can be run apart. Tests with servers (`*.int.test.ts`) start their own on free
 * ports. Time-outs are for a busy machine: a test waits for conditions, and its own waits end first.
 */
const folders = ['libs', 'services', 'infra', 'test'].flatMap((layer) =>
  readdirSync(layer)
    .map((name) => `${layer}/${name}`)
    .filter((folder) => existsSync(`${folder}/package.json`)),
);

export default defineConfig({
  test: {
    projects: folders.map((root) => ({
      extends: true as const,
      root,
      test: {
        name: `@backhaul/${root.split('/')[1]}`,
        testTimeout: root === 'test/e2e' ? 300_000 : 120_000,
        hookTimeout: root === 'test/e2e' ? 300_000 : 120_000,
        // The files of a package share a worker: starting one and importing everything anew costs more than most files do.
        isolate: false,
        // Several hundred processes of the same sources are started: each compiled once is half of what a start costs.
        env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/compiled') },
      },
    })),
    sequence: { sequencer: LongFirst },
    reporters: ['default', './infra/local/src/plain-summary.ts'],
    // One more than the cores of a small machine: of three files with servers, one waits.
    maxWorkers: 3,
  },
});
