/**
 * The order of test files: the long ones first, so that none of them is left to run alone at the end. The rest goes package by
 * package, whose files share a worker.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What waits stands between what computes, because they start in this order, a few at a time. */
const LONG = [
  'test/e2e/src/qemu-faults.int.test.ts',
  'test/e2e/src/kill.int.test.ts',
  'libs/cli/src/cli.int.test.ts',
  'test/e2e/src/qemu.int.test.ts',
  'test/e2e/src/recovery.int.test.ts',
  'test/e2e/src/instant.int.test.ts',
  'test/e2e/src/backup.int.test.ts',
];

export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rankOf = ({ moduleId }: TestSpecification): number => {
      const rank = LONG.findIndex((name) => moduleId.endsWith(`/${name}`));
      return rank === -1 ? LONG.length : rank;
    };
    return sorted.sort((one, other) => rankOf(one) - rankOf(other));
  }
}
