/**
 * All of a VM's life at once: requests, repeats, cancellations, ends of backups and of runs, told in any order and more
 * than once, against the two streams as they would be stored.
 */
import { fold } from '@backhaul/kernel';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BackupEvent, backup } from './backup.ts';
import { requestFor, restorePointOf } from './requests.fixture.ts';
import { backupIdOf, type Change, cancelBackup, noteNews, requestBackup } from './turns.ts';
import { type VmCommand, type VmEvent, vm } from './vm.ts';

const ids = ['r1', 'r2', 'r3', 'r4', 'r5'] as const;
type Id = (typeof ids)[number];

interface Step {
  readonly do: 'request' | 'cancel' | 'complete' | 'fail' | 'closeRun' | 'refusePlan';
  readonly id: Id;
}

class World {
  readonly vmEvents: VmEvent[] = [];
  readonly backupEvents = new Map<string, BackupEvent[]>(ids.map((id) => [backupIdOf(id), []]));

  vm = () => fold(vm.evolve, vm.initialState, this.vmEvents);
  backup = (backupId: string) =>
    fold(backup.evolve, backup.initialState, this.backupEvents.get(backupId) ?? []);

  /** What the step appends. */
  run(step: Step): Change {
    const change = this.decide(step);
    this.vmEvents.push(...change.vm);
    for (const event of change.backup) this.backupEvents.get(event.data.backupId)?.push(event);
    return change;
  }

  private decide(step: Step): Change {
    const backupId = backupIdOf(step.id);
    const of = { hostId: 'lab', vmId: 'web-1', backupId };
    const next = this.vm().waiting[0]?.backupId ?? '';
    const toVm = (news: VmCommand): Change => changeOf(noteNews(this.vm(), news, this.backup(next)));
    switch (step.do) {
      case 'request':
        return changeOf(requestBackup(this.backup(backupId), this.vm(), requestFor(step.id)));
      case 'cancel':
        return changeOf(
          cancelBackup(this.backup(backupId), this.vm(), { backupId, cancelledBy: 'ops', reason: 'none' }),
        );
      case 'complete':
        return toVm({
          type: 'NoteOutcome',
          of,
          ending: { outcome: 'completed', restorePoint: restorePointOf(step.id) },
        });
      case 'fail':
        return toVm({ type: 'NoteOutcome', of, ending: { outcome: 'failed', restorePoint: null } });
      case 'closeRun':
        return toVm({ type: 'NoteRunClosed', of });
      case 'refusePlan':
        return toVm({ type: 'NotePlanRefused', of });
    }
  }
}

const changeOf = (decision: { ok: true; value: Change } | { ok: false }): Change =>
  decision.ok ? decision.value : { backup: [], vm: [] };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('request' as const), id: fc.constantFrom(...ids) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('complete' as const, 'fail' as const, 'closeRun' as const),
      id: fc.constantFrom(...ids),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('cancel' as const, 'refusePlan' as const),
      id: fc.constantFrom(...ids),
    }),
  },
);
const steps = fc.array(step, { maxLength: 60 });

test('a VM never has two backups at a time', () => {
  fc.assert(
    fc.property(steps, (life) => {
      const world = new World();
      for (const each of life) world.run(each);
      let holder: string | undefined;
      for (const { type, data } of world.vmEvents) {
        if (type === 'VmClaimed') {
          expect(holder).toBeUndefined();
          holder = data.backupId;
        }
        if (type === 'VmReleased' && data.backupId === holder) holder = undefined;
      }
    }),
  );
});

test('every accepted request ends up triggered once, or cancelled, when the turns go on', () => {
  fc.assert(
    fc.property(steps, (life) => {
      const world = new World();
      for (const each of life) world.run(each);
      for (const _ of ids) {
        for (const id of ids) {
          world.run({ do: 'complete', id });
          world.run({ do: 'closeRun', id });
        }
      }
      for (const id of ids) {
        const events = world.backupEvents.get(backupIdOf(id)) ?? [];
        const ends = events.filter(({ type }) => type === 'BackupTriggered' || type === 'BackupCancelled');
        expect(ends).toHaveLength(events.length === 0 ? 0 : 1);
      }
      expect(world.vm()).toMatchObject({ turn: null, waiting: [] });
    }),
  );
});

test('a turn is never free while a backup waits for it', () => {
  fc.assert(
    fc.property(steps, (life) => {
      const world = new World();
      for (const each of life) {
        world.run(each);
        expect(world.vm().turn === null && world.vm().waiting.length > 0).toBe(false);
      }
    }),
  );
});

test('a VM says that a backup has the turn exactly when that backup is triggered', () => {
  fc.assert(
    fc.property(steps, (life) => {
      const world = new World();
      for (const each of life) world.run(each);
      const claimed = world.vmEvents.filter(({ type }) => type === 'VmClaimed').map((e) => e.data.backupId);
      const triggered = [...world.backupEvents.values()]
        .flat()
        .filter(({ type }) => type === 'BackupTriggered')
        .map((e) => e.data.backupId);
      expect(claimed.toSorted()).toEqual(triggered.toSorted());
    }),
  );
});

test('all commands are idempotent', () => {
  fc.assert(
    fc.property(steps, step, (life, last) => {
      const world = new World();
      for (const each of life) world.run(each);
      world.run(last);
      expect(world.run(last)).toEqual({ backup: [], vm: [] });
    }),
  );
});
