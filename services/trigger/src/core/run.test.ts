import { describe, expect, test } from 'vitest';
import { asked, at, given, recoveryAsked } from './requests.fixture.ts';
import { type RunEvent, run, runIdOf } from './run.ts';

const history = given(run);
const behind = runIdOf(asked('r0'));
const cancelledBy = { cancelledBy: 'ops', reason: 'not needed' };
const ordered = { by: 'ops', reason: 'not needed', at };
const place = { hostId: 'lab', vmId: 'web-1' };
const refusal = { code: 'UnknownHost', message: 'Host x is unknown.' };

const { purpose: _backup, ...backupData } = asked('r1');
const { purpose: _recovery, ...recoveryData } = recoveryAsked('r1');
const { backupId } = backupData;
const { recoveryId } = recoveryData;
const kept = { origin: backupData.origin, refusal, request: '{}', refusedAt: at };

interface Case {
  readonly one: ReturnType<typeof asked> | ReturnType<typeof recoveryAsked>;
  readonly triggered: RunEvent;
  readonly queued: RunEvent;
  readonly cancelled: RunEvent;
  readonly refused: RunEvent;
}
const cases: [string, Case][] = [
  [
    'backup',
    {
      one: asked('r1'),
      triggered: { type: 'BackupTriggered', data: { ...backupData, parent: null } },
      queued: { type: 'BackupQueued', data: { ...backupData, behind } },
      cancelled: { type: 'BackupCancelled', data: { backupId, ...place, ...cancelledBy } },
      refused: { type: 'BackupRefused', data: { backupId, ...kept } },
    },
  ],
  [
    'recovery',
    {
      one: recoveryAsked('r1'),
      triggered: { type: 'RecoveryTriggered', data: recoveryData },
      queued: { type: 'RecoveryQueued', data: { ...recoveryData, behind } },
      cancelled: { type: 'RecoveryCancelled', data: { recoveryId, ...place, ...cancelledBy } },
      refused: { type: 'RecoveryRefused', data: { recoveryId, ...kept } },
    },
  ],
];

describe.each(cases)('a %s', (_, { one, triggered, queued, cancelled, refused }) => {
  const name = { purpose: one.purpose, runId: runIdOf(one) };
  const trigger = { type: 'Trigger' as const, asked: one, parent: null };
  const cancel = { type: 'Cancel' as const, ...name, ...ordered };

  test('is triggered at once, or when it was queued', () => {
    expect(history().when(trigger)).toEqual({ ok: true, value: [triggered] });
    expect(history(queued).when(trigger)).toEqual({ ok: true, value: [triggered] });
  });

  test('is triggered once, and never after it was refused or cancelled', () => {
    for (const past of [[triggered], [refused], [queued, cancelled]]) {
      expect(history(...past).when(trigger)).toEqual({ ok: true, value: [] });
    }
  });

  test('is queued, or refused, once', () => {
    const queue = { type: 'Queue' as const, asked: one, behind };
    expect(history().when(queue)).toEqual({ ok: true, value: [queued] });
    expect(history(queued).when(queue)).toEqual({ ok: true, value: [] });
    const refuse = { type: 'Refuse' as const, ...name, ...kept };
    expect(history().when(refuse)).toEqual({ ok: true, value: [refused] });
    expect(history(refused).when(refuse)).toEqual({ ok: true, value: [] });
  });

  test('is cancelled while it waits, once', () => {
    expect(history(queued).when(cancel)).toEqual({ ok: true, value: [cancelled] });
    expect(history(queued, cancelled).when(cancel)).toEqual({ ok: true, value: [] });
  });

  test('is not cancelled when it was refused, or is not known; and the answer says which', () => {
    const codeAfter = (...past: RunEvent[]) => {
      const decision = history(...past).when(cancel);
      return decision.ok ? undefined : decision.refusal.code.replace(/Backup|Recovery/, '');
    };
    expect(codeAfter(refused)).toBe('WasRefused');
    expect(codeAfter()).toBe('Unknown');
    const unknown = history().when(cancel);
    expect(!unknown.ok && unknown.refusal.message).toBe(`There is no ${one.purpose} ${runIdOf(one)}.`);
  });
});

test('a request that is kept in a refusal is cut at 16 KiB, between two characters', () => {
  const long = { ...kept, request: `x${'ü'.repeat(10_000)}` };
  expect(history().when({ type: 'Refuse', purpose: 'backup', runId: backupId, ...long })).toEqual({
    ok: true,
    value: [{ type: 'BackupRefused', data: { backupId, ...kept, request: `x${'ü'.repeat(8191)}` } }],
  });
});
