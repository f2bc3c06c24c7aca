/** What an administrator allows a host: taken up, and kept to. */
import { noHostPolicy } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { TestPool } from './pool.fixture.ts';

const adopt = (policy: object, revision: number) =>
  ({ type: 'AdoptPolicy', policy: { ...noHostPolicy, ...policy }, revision }) as const;

test('a policy is adopted once, and an older one that arrives late is not', () => {
  const pool = new TestPool();
  pool.command(adopt({ maxRuns: 3 }, 2));
  expect(pool.command(adopt({ maxRuns: 3 }, 2))).toEqual([]);
  expect(pool.command(adopt({ maxRuns: 9 }, 1))).toEqual([]);
  expect(pool.pool.policy).toEqual({ ...noHostPolicy, maxRuns: 3 });
  pool.command(adopt({}, 3));
  expect(pool.pool.policy).toEqual(noHostPolicy);
});
