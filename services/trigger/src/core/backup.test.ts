import type { EventData } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { type BackupEvent, backup } from './backup.ts';
import { asked, at, given } from './requests.fixture.ts';

const one = asked('r1');
const history = given(backup);
const queued: BackupEvent = { type: 'BackupQueued', data: { ...one, behind: asked('r0').backupId } };
const triggered: BackupEvent = { type: 'BackupTriggered', data: { ...one, parent: null } };
const cancel = {
  type: 'CancelBackup' as const,
  backupId: one.backupId,
  cancelledBy: 'ops',
  reason: 'not needed',
};
const cancelled: BackupEvent = {
  type: 'BackupCancelled',
  data: { backupId: one.backupId, hostId: 'lab', vmId: 'web-1', cancelledBy: 'ops', reason: 'not needed' },
};
const refusal: EventData<'BackupRefused'> = {
  backupId: one.backupId,
  origin: one.origin,
  refusal: { code: 'UnknownHost', message: 'Host x is unknown.' },
  request: '{}',
  refusedAt: at,
};
const refused: BackupEvent = { type: 'BackupRefused', data: refusal };
const trigger = { type: 'TriggerBackup' as const, asked: one, parent: null };

describe('a backup is triggered', () => {
  test('at once, or when it was queued', () => {
    expect(history().when(trigger)).toEqual({ ok: true, value: [triggered] });
    expect(history(queued).when(trigger)).toEqual({ ok: true, value: [triggered] });
  });

  test('once, and never after it was refused or cancelled', () => {
    for (const past of [[triggered], [refused], [queued, cancelled]]) {
      expect(history(...past).when(trigger)).toEqual({ ok: true, value: [] });
    }
  });
});

describe('a backup is cancelled', () => {
  test('while it waits', () => {
    expect(history(queued).when(cancel)).toEqual({ ok: true, value: [cancelled] });
  });

  test('once', () => {
    expect(history(queued, cancelled).when(cancel)).toEqual({ ok: true, value: [] });
  });

  test('but not when it has started, was refused, or is not known; and the answer says which', () => {
    const codeAfter = (...past: BackupEvent[]) => {
      const decision = history(...past).when(cancel);
      return decision.ok ? undefined : decision.refusal.code;
    };
    expect(codeAfter(triggered)).toBe('BackupAlreadyStarted');
    expect(codeAfter(refused)).toBe('BackupWasRefused');
    expect(codeAfter()).toBe('UnknownBackup');
  });
});

test('a request that is kept in a refusal is cut at 16 KiB, between two characters', () => {
  const long = { ...refusal, request: `x${'ü'.repeat(10_000)}` };
  expect(history().when({ type: 'RefuseBackup', refused: long })).toEqual({
    ok: true,
    value: [{ type: 'BackupRefused', data: { ...refusal, request: `x${'ü'.repeat(8191)}` } }],
  });
});
