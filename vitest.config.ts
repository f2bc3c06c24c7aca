import { defineConfig } from 'vitest/config';

/**
 * One project per workspace package, so that `nx` can run and cache them apart.
 * Tests that need servers (`*.int.test.ts`) start their own on free ports; only e2e files run one at a time.
 */
export default defineConfig({
  test: {
    projects: ['libs/*', 'services/*', 'infra/*', 'test/*'],
    reporters: ['default', './infra/local/src/plain-summary.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
