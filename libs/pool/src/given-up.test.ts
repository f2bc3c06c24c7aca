/** Actions that cannot be done, and what follows for those who wait for them. */
import { expect, test } from 'vitest';
import type { Action } from './actions.ts';
import { givenUp, triesOf } from './given-up.ts';
import { planOf, TestPool } from './pool.fixture.ts';

const stuck = new Error('the guest did not let go of the disk');

/** A backup that has ended, whose proxy also holds the disk of another that goes on. */
function endedBesideAnother(): { pool: TestPool; detach: Extract<Action, { type: 'DetachDisk' }> } {
  const pool = new TestPool();
  const [ended, other] = [planOf('web', [1], 1), planOf('db', [1], 1)];
  for (const plan of [ended, other]) {
    pool.request(plan);
    pool.run();
  }
  pool.finishJob(ended.childJobs[0]?.childJobId ?? '');
  pool.command({ type: 'EndRun', runId: ended.backupId, outcome: 'completed' });
  const detach = pool.settle().find((action) => action.type === 'DetachDisk');
  if (detach?.type !== 'DetachDisk') throw new Error('Nothing is to be detached');
  return { pool, detach };
}

test('a disk that its proxy does not let go of is tried for some time, and then goes with the proxy; others go on elsewhere', () => {
  const { pool, detach } = endedBesideAnother();
  expect(Number.isFinite(triesOf(detach))).toBe(true);
  const before = pool.history.length;
  pool.append(givenUp(pool.pool, detach, stuck));
  expect(givenUp(pool.pool, detach, stuck)).toEqual([]);
  pool.run();
  const { proxyId, runId, diskId } = detach;
  const after = pool.history.slice(before);
  expect(after[0]).toMatchObject({
    ...{
      type: 'ProxyLost',
      data: { proxyId, reason: expect.stringMatching(/let go of disk d0 .*the guest did not/) },
    },
  });
  const [detached, deactivated, closed] = ['DiskDetached', 'ProxyDeactivated', 'RunClosed'].map((type) =>
    after.findIndex(
      (event) => event.type === type && (!('runId' in event.data) || event.data.runId === runId),
    ),
  );
  expect(detached).toBeGreaterThan(0);
  expect(deactivated).toBeGreaterThan(detached ?? 0);
  expect(closed).toBeGreaterThan(detached ?? 0);
  expect(after[detached ?? 0]).toMatchObject({ data: { proxyId, diskId } });
  expect(pool.leases()).toEqual(['db.d0.0@p2:0']);
});

test('a disk that was let go of after all costs no proxy', () => {
  const { pool, detach } = endedBesideAnother();
  const { proxyId, runId, diskId } = detach;
  pool.append([{ type: 'DiskDetached', data: { hostId: 'lab', proxyId, runId, diskId } }]);
  expect(givenUp(pool.pool, detach, stuck)).toEqual([]);
});
