import { defineConfig } from 'vitest/config';

/** Real processes on a busy machine: a test may wait long for a condition, and fails by its own time-outs first. */
export default defineConfig({ test: { testTimeout: 120_000, hookTimeout: 120_000 } });
