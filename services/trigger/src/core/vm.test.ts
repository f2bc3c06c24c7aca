import { fold } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { asked, at, given, recoveryAsked, restorePointOf } from './requests.fixture.ts';
import { type Asked, runIdOf } from './run.ts';
import { type Vm, type VmCommand, type VmEvent, vm } from './vm.ts';

const ofVm = { hostId: 'lab', vmId: 'web-1' };
const [first, second, third] = [asked('r1'), asked('r2'), asked('r3')];
const recovery = recoveryAsked('r1');
const of = (a: Asked) => ({ ...ofVm, runId: runIdOf(a) });
const history = given(vm);

const claimed: VmEvent = { type: 'VmClaimed', data: of(first) };
const secondWaits: VmEvent = {
  type: 'VmAwaited',
  data: { ...of(second), behind: first.backupId, asked: second },
};
const completed: VmCommand = {
  type: 'NoteOutcome',
  of: of(first),
  ending: { purpose: 'backup', outcome: 'completed', restorePoint: restorePointOf('r1') },
};
const runClosed: VmCommand = { type: 'NoteRunClosed', of: of(first) };
const ended: VmEvent = {
  type: 'VmBackupEnded',
  data: { ...of(first), outcome: 'completed', restorePoint: restorePointOf('r1') },
};
const closed: VmEvent = { type: 'VmRunClosed', data: of(first) };
const released: VmEvent = {
  type: 'VmReleased',
  data: { ...of(first), outcome: 'completed', restorePoint: restorePointOf('r1') },
};

describe('the turn at a VM', () => {
  test('is had at once when nobody has it', () => {
    expect(history().when({ type: 'AskForTurn', asked: first })).toEqual({ ok: true, value: [claimed] });
  });

  test('is waited for, behind whoever came before', () => {
    expect(history(claimed).when({ type: 'AskForTurn', asked: second })).toEqual({
      ok: true,
      value: [secondWaits],
    });
    expect(history(claimed, secondWaits).when({ type: 'AskForTurn', asked: third })).toEqual({
      ok: true,
      value: [{ type: 'VmAwaited', data: { ...of(third), behind: second.backupId, asked: third } }],
    });
  });

  test('comes sooner to who has a head start, but not before who came long before', () => {
    const later = (hours: number) => new Date(Date.parse(at) + hours * 3_600_000).toISOString();
    const line = (...waiting: Asked[]) =>
      waiting.reduce(
        (state, each) =>
          vm.evolve(state, { type: 'VmAwaited', data: { ...of(each), behind: first.backupId, asked: each } }),
        vm.evolve(vm.initialState, claimed),
      );
    const early = line(second, { ...third, requestedAt: later(20) }, { ...recovery, requestedAt: later(11) });
    expect(early.waiting.map(runIdOf)).toEqual([recovery, second, third].map(runIdOf));
    const late = line(second, { ...third, requestedAt: later(20) }, { ...recovery, requestedAt: later(13) });
    expect(late.waiting.map(runIdOf)).toEqual([second, recovery, third].map(runIdOf));
    const behind = vm.decide(line(second), {
      type: 'AskForTurn',
      asked: { ...recovery, requestedAt: later(1) },
    });
    expect(behind).toMatchObject({ value: [{ type: 'VmAwaited', data: { behind: first.backupId } }] });
  });

  test('is not taken from those who wait, whoever has it', () => {
    const decision = history(claimed, secondWaits, ended, closed, released).when({
      type: 'AskForTurn',
      asked: third,
    });
    expect(decision).toMatchObject({ ok: true, value: [{ type: 'VmAwaited' }] });
  });

  test('is refused where the policy wants no waiting', () => {
    const impatient = asked('r2', { whenVmBusy: 'refuse' });
    expect(history(claimed).when({ type: 'AskForTurn', asked: impatient })).toMatchObject({
      ok: false,
      refusal: { code: 'VmBusy', wayOut: expect.stringContaining('whenVmBusy') },
    });
  });

  test('asked for twice is one place in the line', () => {
    expect(history(claimed).when({ type: 'AskForTurn', asked: first })).toEqual({ ok: true, value: [] });
    expect(history(claimed, secondWaits).when({ type: 'AskForTurn', asked: second })).toEqual({
      ok: true,
      value: [],
    });
  });

  test('lasts until the outcome is known and the run has given everything back', () => {
    expect(history(claimed).when(completed)).toEqual({ ok: true, value: [ended] });
    expect(history(claimed, ended).when(runClosed)).toEqual({ ok: true, value: [closed, released] });
    expect(history(claimed).when(runClosed)).toEqual({ ok: true, value: [closed] });
    expect(history(claimed, closed).when(completed)).toEqual({ ok: true, value: [ended, released] });
  });

  test('ends at once when the plan was refused, because there is no run', () => {
    expect(history(claimed).when({ type: 'NotePlanRefused', of: of(first) })).toMatchObject({
      value: [{ type: 'VmReleased', data: { outcome: 'refused', restorePoint: null } }],
    });
  });

  test('passes to the one who waits longest, and only when it is free', () => {
    const pass: VmCommand = { type: 'PassTurn', of: ofVm };
    expect(history(claimed, secondWaits).when(pass)).toEqual({ ok: true, value: [] });
    expect(history(claimed, secondWaits, released).when(pass)).toEqual({
      ok: true,
      value: [{ type: 'VmClaimed', data: of(second) }],
    });
    expect(history(claimed, released).when(pass)).toEqual({ ok: true, value: [] });
  });

  test('is no longer waited for by one who left the line', () => {
    const leave: VmCommand = { type: 'LeaveLine', of: of(second) };
    const left = history(claimed, secondWaits).when(leave);
    expect(left).toMatchObject({ value: [{ type: 'VmReleased', data: { outcome: 'cancelled' } }] });
    const after = left.ok ? [claimed, secondWaits, ...left.value] : [];
    expect(history(...after).when(leave)).toEqual({ ok: true, value: [] });
    expect(fold(vm.evolve, vm.initialState, after).turn?.runId).toBe(first.backupId);
  });
});

describe('a recovery to a VM', () => {
  const recovered: VmCommand = {
    type: 'NoteOutcome',
    of: of(recovery),
    ending: { purpose: 'recovery', outcome: 'completed' },
  };
  const ofRecovery = { data: of(recovery) };
  const recoveryEnded: VmEvent = { type: 'VmRecoveryEnded', data: { ...of(recovery), outcome: 'completed' } };
  const recoveryReleased: VmEvent = {
    type: 'VmReleased',
    data: { ...of(recovery), outcome: 'completed', restorePoint: null },
  };

  test('has its turn as a backup has, and the two wait for each other', () => {
    const ask = (a: Asked): VmCommand => ({ type: 'AskForTurn', asked: a });
    expect(history().when(ask(recovery))).toEqual({
      ok: true,
      value: [{ type: 'VmClaimed', ...ofRecovery }],
    });
    expect(history(claimed).when(ask(recovery))).toEqual({
      ok: true,
      value: [{ type: 'VmAwaited', data: { ...of(recovery), behind: first.backupId, asked: recovery } }],
    });
    expect(history({ type: 'VmClaimed', ...ofRecovery }).when(ask(second))).toEqual({
      ok: true,
      value: [{ type: 'VmAwaited', data: { ...of(second), behind: recovery.recoveryId, asked: second } }],
    });
  });

  test('keeps it until its outcome is known and its run has given everything back', () => {
    const closes: VmCommand = { type: 'NoteRunClosed', of: of(recovery) };
    const has: VmEvent = { type: 'VmClaimed', ...ofRecovery };
    const runHasClosed: VmEvent = { type: 'VmRunClosed', ...ofRecovery };
    expect(history(has).when(recovered)).toEqual({ ok: true, value: [recoveryEnded] });
    expect(history(has, recoveryEnded).when(closes)).toEqual({
      ok: true,
      value: [runHasClosed, recoveryReleased],
    });
    expect(history(has, runHasClosed).when(recovered)).toEqual({
      ok: true,
      value: [recoveryEnded, recoveryReleased],
    });
  });

  test('leaves the newest restore point of the VM as it is', () => {
    const events: VmEvent[] = [claimed, released, { type: 'VmClaimed', ...ofRecovery }, recoveryReleased];
    expect(fold(vm.evolve, vm.initialState, events).restorePoint).toEqual(restorePointOf('r1'));
  });
});

test('the restore point of a completed backup stays for the next, also when backups fail in between', () => {
  const failed: VmEvent = {
    type: 'VmReleased',
    data: { ...of(second), outcome: 'failed', restorePoint: null },
  };
  const state = fold(vm.evolve, vm.initialState, [
    claimed,
    released,
    { type: 'VmClaimed', data: of(second) },
    failed,
  ]);
  expect(state.restorePoint).toEqual(restorePointOf('r1'));
});

test('the outcome and the end of the run lead to the same state in either order, however often each is told', () => {
  const facts: VmCommand[] = [completed, runClosed];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...facts), { maxLength: 6 }), fc.boolean(), (extra, swapped) => {
      const order = [...(swapped ? facts.toReversed() : facts), ...extra];
      expect(after(order)).toEqual({ turn: null, waiting: [second], restorePoint: restorePointOf('r1') });
    }),
  );
});

function after(commands: VmCommand[]): Vm {
  let state = fold(vm.evolve, vm.initialState, [claimed, secondWaits]);
  for (const command of commands) {
    const decision = vm.decide(state, command);
    if (decision.ok) state = fold(vm.evolve, state, decision.value);
  }
  return state;
}
