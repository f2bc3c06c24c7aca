/**
 * All of a VM's life at once: requests for backups of it and for recoveries to it, repeats, cancellations, ends of runs, told in any
 * order and more than once, against the streams as they would be stored.
 */
import { type Priority, type Purpose, turnOf } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { at, recoveryFor, requestFor, restorePointOf } from './requests.fixture.ts';
import { type Run, type RunEvent, run, runIdFor, runIdOf } from './run.ts';
import { type Change, cancelRun, noteNews, requestRun } from './turns.ts';
import { type VmCommand, type VmEvent, vm } from './vm.ts';

/** r1 to r4 are requests for backups and for recoveries: eight runs. Some name a priority, and some leave it to the policy. */
const names = (['backup', 'recovery'] as const).flatMap((purpose) =>
  ['r1', 'r2', 'r3', 'r4'].map((requestId) => ({ purpose, requestId })),
);

const priorities: Record<string, Priority | undefined> = { r2: 'low', r3: 'urgent', r4: 'normal' };
/** Hours between two things that happen: so that head starts are sometimes enough to overtake, and sometimes not. */
const STEP_HOURS = 5;

interface Step {
  readonly do: 'request' | 'cancel' | 'complete' | 'fail' | 'closeRun' | 'refusePlan';
  readonly of: { readonly purpose: Purpose; readonly requestId: string };
}
const idOf = ({ data }: RunEvent): string => ('recoveryId' in data ? data.recoveryId : data.backupId);
const runIdIn = ({ of }: Pick<Step, 'of'>): string => runIdFor(of.purpose, of.requestId);

class World {
  readonly vmEvents: VmEvent[] = [];
  readonly runEvents: RunEvent[] = [];
  vm = vm.initialState;
  private steps = 0;
  private readonly runs = new Map<string, Run>();

  /** What the step appends. */
  take(step: Step): Change {
    this.steps += 1;
    const next = this.vm.waiting[0];
    const news = step.do !== 'request' && step.do !== 'cancel';
    const about = news && next !== undefined ? runIdOf(next) : runIdIn(step);
    const change = this.decide(step);
    this.vmEvents.push(...change.vm);
    this.runEvents.push(...change.run);
    this.vm = fold(vm.evolve, this.vm, change.vm);
    this.runs.set(about, fold(run.evolve, this.run(about), change.run));
    return change;
  }

  private run(runId: string): Run {
    return this.runs.get(runId) ?? run.initialState;
  }

  private decide(step: Step): Change {
    const { purpose, requestId } = step.of;
    const runId = runIdIn(step);
    const of = { hostId: 'lab', vmId: 'web-1', runId };
    const next = this.vm.waiting[0];
    const ofNext = next === undefined ? run.initialState : this.run(runIdOf(next));
    const toVm = (news: VmCommand): Change => changeOf(noteNews(this.vm, news, ofNext));
    switch (step.do) {
      case 'request': {
        const requestedAt = new Date(Date.parse(at) + this.steps * STEP_HOURS * 3_600_000).toISOString();
        const priority = priorities[requestId];
        const plain = requestFor(requestId);
        const wanted =
          purpose === 'backup'
            ? { ...plain, request: { ...plain.request, priority }, requestedAt }
            : recoveryFor(requestId, { priority }, { requestedAt });
        return changeOf(requestRun(this.run(runId), this.vm, wanted));
      }
      case 'cancel': {
        const command = { purpose, runId, by: 'ops', reason: 'none', at };
        return changeOf(cancelRun(this.run(runId), this.vm, command));
      }
      case 'complete': {
        const restorePoint = restorePointOf(requestId);
        const ending =
          purpose === 'backup'
            ? { purpose, outcome: 'completed' as const, restorePoint }
            : { purpose, outcome: 'completed' as const };
        return toVm({ type: 'NoteOutcome', of, ending });
      }
      case 'fail': {
        const ending =
          purpose === 'backup'
            ? { purpose, outcome: 'failed' as const, restorePoint: null }
            : { purpose, outcome: 'failed' as const };
        return toVm({ type: 'NoteOutcome', of, ending });
      }
      case 'closeRun':
        return toVm({ type: 'NoteRunClosed', of });
      case 'refusePlan':
        return toVm({ type: 'NotePlanRefused', of });
    }
  }
}

const changeOf = (decision: { ok: true; value: Change } | { ok: false }): Change =>
  decision.ok ? decision.value : { run: [], vm: [] };

const of = fc.constantFrom(...names);
const steps = (...kinds: Step['do'][]) => fc.record({ do: fc.constantFrom(...kinds), of });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: steps('request') },
  { weight: 6, arbitrary: steps('complete', 'fail', 'closeRun') },
  { weight: 1, arbitrary: steps('cancel', 'refusePlan') },
);
const lives = fc.array(step, { maxLength: 80 });

/** What must hold after a life. */
const always = (holds: (world: World) => void): void =>
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World();
      for (const each of life) world.take(each);
      holds(world);
    }),
  );

test('a VM never has two runs at a time, of whatever purpose', () => {
  always(({ vmEvents }) => {
    let holder: string | undefined;
    for (const { type, data } of vmEvents) {
      if (type === 'VmClaimed') {
        expect(holder).toBeUndefined();
        holder = data.runId;
      }
      if (type === 'VmReleased' && data.runId === holder) holder = undefined;
    }
  });
});

test('every accepted request ends up triggered once, or cancelled, when the turns go on', () => {
  always((world) => {
    for (const _ of names) {
      for (const name of names) {
        world.take({ do: 'complete', of: name });
        world.take({ do: 'closeRun', of: name });
      }
    }
    const asked = new Set(world.runEvents.map(idOf));
    const ended = world.runEvents.filter(({ type }) => /Triggered|Cancelled/.test(type)).map(idOf);
    expect(ended.toSorted()).toEqual([...asked].toSorted());
    expect(world.vm).toMatchObject({ turn: null, waiting: [] });
  });
});

test('a turn is never free while somebody waits for it', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World();
      for (const each of life) {
        world.take(each);
        expect(world.vm.turn === null && world.vm.waiting.length > 0).toBe(false);
      }
    }),
  );
});

test('turns are had by age and priority: nobody is overtaken but by who has a head start on him', () => {
  always(({ vmEvents }) => {
    let line: { readonly runId: string; readonly turn: number }[] = [];
    for (const { type, data } of vmEvents) {
      if (type === 'VmAwaited') {
        const { priority, requestedAt: askedAt } = data.asked;
        line.push({ runId: data.runId, turn: turnOf({ priority, askedAt }) });
      }
      const served = line.find(({ runId }) => runId === data.runId);
      if (type === 'VmClaimed' && served !== undefined)
        for (const other of line) expect(other.turn).toBeGreaterThanOrEqual(served.turn);
      if (type === 'VmClaimed' || type === 'VmReleased')
        line = line.filter(({ runId }) => runId !== data.runId);
    }
  });
});

test('a VM says that a run has the turn exactly when that run is triggered, by its own kind of event', () => {
  always(({ vmEvents, runEvents }) => {
    const claimed = vmEvents.filter(({ type }) => type === 'VmClaimed').map(({ data }) => data.runId);
    const triggered = runEvents.filter(({ type }) => type.endsWith('Triggered')).map(idOf);
    expect(claimed.toSorted()).toEqual(triggered.toSorted());
  });
});

test('all commands are idempotent', () => {
  fc.assert(
    fc.property(lives, step, (life, last) => {
      const world = new World();
      for (const each of life) world.take(each);
      world.take(last);
      expect(world.take(last)).toEqual({ run: [], vm: [] });
    }),
  );
});
