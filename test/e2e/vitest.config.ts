import { defineProject } from 'vitest/config';

/** Whole stacks are heavy: one file at a time, after everything else. */
export default defineProject({
  test: { testTimeout: 180_000, hookTimeout: 120_000, maxWorkers: 1, sequence: { groupOrder: 1 } },
});
