import type { RecoveryPlan } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { beforeEach, describe, expect, test } from 'vitest';
import { confirmsSomething } from './confirmation.ts';
import { confirmed, HOST, recoveryPlanOf, TestPool } from './pool.fixture.ts';

const mounts = { d0: 'nbd+unix:///d0?socket=/mount' };
const planned: RecoveryPlan = {
  ...recoveryPlanOf('web-2', [1], 0),
  childJobs: [],
  start: true,
  instant: { fillBytesPerSecond: null },
};
const runId = planned.recoveryId;
const run = { hostId: HOST, runId };
const totalBytes = 64 * MiB;

let pool: TestPool;
const typesOf = (from = 0): string[] => pool.history.slice(from).map(({ type }) => type);
const dueNow = (): string[] => pool.settle().map(({ type }) => type);
const step = (): void => pool.append(pool.settle().flatMap((action) => confirmed(action)));
const see = (state: 'filling' | 'copied' | 'stopped' | 'unknown', filledBytes = 0): void => {
  pool.fills = [{ targetId: runId, vmId: 'web-2', state, filledBytes, totalBytes, detail: `it is ${state}` }];
  pool.observe();
};
/** To where the VM runs, and is being filled. */
const start = (): void => {
  pool.request(planned);
  pool.command({ type: 'TakeMounts', runId, mounts });
  pool.run();
};

beforeEach(() => {
  pool = new TestPool();
});

describe('an instant recovery', () => {
  test('waits for the mounts, makes disks over them, starts the VM at once, and has it filled', () => {
    pool.request(planned);
    expect(dueNow()).toEqual([]);
    pool.command({ type: 'TakeMounts', runId, mounts });
    expect(pool.command({ type: 'TakeMounts', runId, mounts })).toEqual([]);
    expect(pool.settle()).toMatchObject([{ type: 'CreateTarget', mounts }]);
    step();
    expect(dueNow()).toEqual(['KeepTarget']);
    // It may be a VM already, and no target any more: the host is not slower than its confirmation.
    pool.observe({ disks: false });
    expect(dueNow()).toEqual(['KeepTarget']);
    step();
    pool.restart();
    expect(dueNow()).toEqual(['FillTarget']);
    step();
    expect(dueNow()).toEqual([]);
    const before = pool.history.length;
    see('filling', 1 * MiB);
    see('filling', 32 * MiB);
    see('unknown');
    expect(typesOf(before)).toEqual(['FillProgressed']);
    expect(dueNow()).toEqual([]);
    see('copied', totalBytes);
    expect(dueNow()).toEqual(['FillTarget']);
    pool.append([{ type: 'TargetFilled', data: { ...run, vmId: 'web-2', filledBytes: totalBytes } }]);
    pool.run();
    expect(typesOf()).toEqual([
      'ActivationRequested',
      'TargetRequested',
      'TargetCreated',
      'TargetKept',
      'FillProgressed',
      'FillProgressed',
      'FillProgressed',
      'TargetFilled',
      'RunClosed',
    ]);
    expect(pool.history.at(-1)?.data).toMatchObject({ outcome: 'completed' });
  });

  test('whose VM dies has it started again as long as something comes of it, and never discards it', () => {
    start();
    for (let died = 0; died < 5; died += 1) {
      see('stopped');
      expect(dueNow()).toEqual(['FillTarget']);
      step();
    }
    see('filling', 8 * MiB);
    for (let died = 0; died < 5; died += 1) {
      see('stopped');
      step();
      // The same part once more.
      see('filling', 8 * MiB);
    }
    expect(typesOf()).not.toContain('RunFailed');
    see('stopped');
    expect(dueNow()).toEqual(['LeaveTarget']);
    expect(pool.history.at(-1)).toMatchObject({
      type: 'RunFailed',
      data: { refusal: { code: 'FillFailed' } },
    });
    // Until the host says that it has ended, the mounts are needed.
    expect(typesOf()).not.toContain('RunClosed');
    pool.run();
    expect(typesOf().slice(-2)).toEqual(['TargetLeft', 'RunClosed']);
    expect(pool.history.at(-1)?.data).toMatchObject({ outcome: 'failed' });
  });

  test('of a restore point that cannot be read fails: before its VM runs nothing is left, afterwards the VM is', () => {
    const refusal = { code: 'RestorePointDamaged', message: 'It is damaged.' };
    pool.request(planned);
    pool.command({ type: 'TakeMounts', runId, mounts });
    step();
    pool.command({ type: 'FailRun', runId, refusal });
    expect(pool.command({ type: 'FailRun', runId, refusal })).toEqual([]);
    expect(dueNow()).toEqual(['DiscardTarget']);

    // Its start was under way.
    const kept = {
      type: 'TargetKept',
      data: { ...run, vmId: 'web-2', started: true, notStarted: null },
    } as const;
    expect(confirmsSomething(pool.pool, kept)).toBe(true);
    pool.append([kept]);
    expect(dueNow()).toEqual(['LeaveTarget']);
  });

  test('that never gets its mounts, because nobody can read the restore point, ends with nothing asked of the host', () => {
    pool.request(planned);
    pool.command({ type: 'EndRun', runId, outcome: 'failed' });
    pool.run();
    expect(typesOf()).toEqual(['ActivationRequested', 'RunEnding', 'RunClosed']);
    expect(pool.command({ type: 'TakeMounts', runId, mounts })).toEqual([]);
  });
});
