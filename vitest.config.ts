import { existsSync, readdirSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

/**
 * One project per workspace package, so that each can be run apart. Tests with servers (`*.int.test.ts`) start their own on free
 * ports. Time-outs are for a busy machine: a test waits for conditions, and its own waits end first.
 */
const folders = ['libs', 'services', 'infra', 'test'].flatMap((layer) =>
  readdirSync(layer)
    .map((name) => `${layer}/${name}`)
    .filter((folder) => existsSync(`${folder}/package.json`)),
);

/** Whole stacks are heavy: one file at a time, after everything else. */
const endToEnd = { maxWorkers: 1, sequence: { groupOrder: 1 } };

export default defineConfig({
  test: {
    projects: folders.map((root) => ({
      extends: true as const,
      root,
      test: {
        name: `@backhaul/${root.split('/')[1]}`,
        testTimeout: 120_000,
        hookTimeout: 120_000,
        ...(root === 'test/e2e' ? endToEnd : {}),
      },
    })),
    reporters: ['default', './infra/local/src/plain-summary.ts'],
    maxWorkers: 2,
  },
});
