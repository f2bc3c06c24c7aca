/** Whatever happens to a host: what its pool decided is decided again from the log alone, and what is planted in the log is found. */
import type { StoredRecord } from '@backhaul/contracts';
import { happening, live, policy } from '@backhaul/pool/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkLog } from './check-log.ts';
import { RecordedPool } from './recorded-pool.fixture.ts';

function recordedLife(
  policies: Parameters<typeof live>[1],
  history: Parameters<typeof live>[2],
): StoredRecord[] {
  const pool = new RecordedPool();
  live(pool, policies, history);
  pool.settle();
  return pool.log;
}

test('every decision is derived again, whatever has happened', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 60 }), (policies, history) => {
      const log = recordedLife(policies, history);
      const { differences, tallies } = checkLog(log);
      expect(differences.map(({ what, lines }) => [what, ...lines])).toEqual([]);
      const requests = log.filter(({ type }) => type === 'ActivationRequested').length;
      expect(tallies.news.checked).toBeGreaterThanOrEqual(requests);
      for (const kind of ['look', 'news', 'confirmation', 'drift'] as const)
        expect([...tallies[kind].notCheckable]).toEqual([]);
    }),
    { numRuns: 200 },
  );
});
