import type { Event } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { asked, at, given, recoveryAsked } from './requests.fixture.ts';
import { type RunEvent, run, runIdOf } from './run.ts';
import { isPaused } from './run-orders.ts';

const history = given(run);
const behind = runIdOf(asked('r0'));
const place = { hostId: 'lab', vmId: 'web-1' };
const ordered = { by: 'ops', reason: 'the window is over', at };
const { purpose: _backup, ...backup } = asked('r1');
const { purpose: _recovery, ...recovery } = recoveryAsked('r1');
const ofBackup = { backupId: backup.backupId, ...place };
const ofRecovery = { recoveryId: recovery.recoveryId, ...place };
const paused = (number: number) => ({ number, pausedBy: 'ops', reason: ordered.reason, pausedAt: at });
const resumed = (number: number) => ({ number, resumedBy: 'ops', reason: ordered.reason, resumedAt: at });
const ends = { cancelledBy: 'ops', reason: ordered.reason, orderedAt: at };

interface Case {
  readonly one: ReturnType<typeof asked> | ReturnType<typeof recoveryAsked>;
  readonly queued: RunEvent;
  readonly triggered: RunEvent;
  readonly cancelOrdered: RunEvent;
  readonly cancelled: RunEvent;
  readonly pausedAs: (number: number) => RunEvent;
  readonly resumedAs: (number: number) => RunEvent;
}
const cases: [string, Case][] = [
  [
    'backup',
    {
      one: asked('r1'),
      queued: { type: 'BackupQueued', data: { ...backup, behind } },
      triggered: { type: 'BackupTriggered', data: { ...backup, parent: null } },
      cancelOrdered: { type: 'BackupCancelOrdered', data: { ...ofBackup, ...ends } },
      cancelled: {
        type: 'BackupCancelled',
        data: { ...ofBackup, cancelledBy: 'ops', reason: ordered.reason },
      },
      pausedAs: (number) => ({ type: 'BackupPaused', data: { ...ofBackup, ...paused(number) } }),
      resumedAs: (number) => ({ type: 'BackupResumed', data: { ...ofBackup, ...resumed(number) } }),
    },
  ],
  [
    'recovery',
    {
      one: recoveryAsked('r1'),
      queued: { type: 'RecoveryQueued', data: { ...recovery, behind } },
      triggered: { type: 'RecoveryTriggered', data: recovery },
      cancelOrdered: { type: 'RecoveryCancelOrdered', data: { ...ofRecovery, ...ends } },
      cancelled: {
        type: 'RecoveryCancelled',
        data: { ...ofRecovery, cancelledBy: 'ops', reason: ordered.reason },
      },
      pausedAs: (number) => ({ type: 'RecoveryPaused', data: { ...ofRecovery, ...paused(number) } }),
      resumedAs: (number) => ({ type: 'RecoveryResumed', data: { ...ofRecovery, ...resumed(number) } }),
    },
  ],
];

describe.each(cases)('a %s', (_, one) => {
  const { queued, triggered, cancelOrdered, cancelled, pausedAs, resumedAs } = one;
  const order = { purpose: one.one.purpose, runId: runIdOf(one.one), ...ordered };
  const cancel = { type: 'Cancel' as const, ...order };
  const pause = { type: 'Pause' as const, ...order };
  const resume = { type: 'Resume' as const, ...order };
  const none = { ok: true, value: [] };
  const isPausedAfter = (...past: RunEvent[]) => isPaused(fold(run.evolve, run.initialState, past));

  test('that has started is ordered to end, once', () => {
    expect(history(triggered).when(cancel)).toEqual({ ok: true, value: [cancelOrdered] });
    expect(history(triggered, cancelOrdered).when(cancel)).toEqual(none);
  });

  test('pauses and goes on, each once, as often as somebody wants', () => {
    expect(history(triggered).when(resume)).toEqual(none);
    expect(history(triggered).when(pause)).toEqual({ ok: true, value: [pausedAs(1)] });
    expect(history(triggered, pausedAs(1)).when(pause)).toEqual(none);
    expect(history(triggered, pausedAs(1)).when(resume)).toEqual({ ok: true, value: [resumedAs(2)] });
    expect(history(triggered, pausedAs(1), resumedAs(2)).when(resume)).toEqual(none);
    expect(history(triggered, pausedAs(1), resumedAs(2)).when(pause)).toEqual({
      ok: true,
      value: [pausedAs(3)],
    });
  });

  test('pauses in the line, and is paused still when it has its turn', () => {
    expect(history(queued).when(pause)).toEqual({ ok: true, value: [pausedAs(1)] });
    expect(isPausedAfter(queued, pausedAs(1), triggered)).toBe(true);
    expect(history(queued, pausedAs(1), triggered).when(resume)).toEqual({ ok: true, value: [resumedAs(2)] });
  });

  test('that is paused can be cancelled, in the line and after it', () => {
    expect(history(queued, pausedAs(1)).when(cancel)).toEqual({ ok: true, value: [cancelled] });
    expect(history(triggered, pausedAs(1)).when(cancel)).toEqual({ ok: true, value: [cancelOrdered] });
  });

  test('that was cancelled neither pauses nor goes on', () => {
    for (const past of [
      [queued, cancelled],
      [triggered, cancelOrdered],
      [triggered, pausedAs(1), cancelOrdered],
    ]) {
      for (const command of [pause, resume])
        expect(history(...past).when(command)).toMatchObject({
          refusal: { message: expect.stringContaining(`was cancelled: ${ordered.reason}`) },
        });
    }
  });

  test('that has ended meanwhile is left as it is, with what became of it', () => {
    const inTheWay = { code: 'AlreadyEnded', message: 'It has completed.' };
    const refused = { ok: false, refusal: inTheWay };
    expect(history(triggered).when({ ...cancel, inTheWay })).toEqual(refused);
    expect(history(triggered).when({ ...pause, inTheWay })).toEqual(refused);
    expect(history(triggered, pausedAs(1)).when({ ...resume, inTheWay })).toEqual(refused);
    // What is so already is so.
    expect(history(triggered, pausedAs(1)).when({ ...pause, inTheWay })).toEqual(none);
  });

  test('that nobody asked for is named', () => {
    expect(history().when(pause)).toMatchObject({ refusal: { code: expect.stringMatching(/^Unknown/) } });
    expect(history().when(resume)).toMatchObject({ refusal: { code: expect.stringMatching(/^Unknown/) } });
  });
});

test('an instant recovery that has started does not pause, and the refusal says what helps', () => {
  const instant: Event<'RecoveryTriggered'> = {
    type: 'RecoveryTriggered',
    data: { ...recovery, instant: { fillBytesPerSecond: null } },
  };
  const pause = {
    type: 'Pause' as const,
    purpose: 'recovery' as const,
    runId: recovery.recoveryId,
    ...ordered,
  };
  expect(history(instant).when(pause)).toMatchObject({
    refusal: { code: 'PauseUnavailable', wayOut: expect.stringContaining('fillBytesPerSecond') },
  });
});
