/**
 * The agenda against a plain walk over all schedules: whatever is defined, removed and fired, and however the clock goes, forward, back, or
 * into another year, what the agenda names is what the walk finds, and when it names nothing the walk finds nothing.
 */
import type { Event } from '@backhaul/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Agenda, type Due } from './agenda.ts';
import { backupIdOf } from './requests.fixture.ts';
import {
  approachingTime,
  CLOCK_MARGIN_MILLISECONDS,
  dueTime,
  futureOf,
  type Schedule,
  type ScheduleCommand,
  type ScheduleEvent,
  schedule,
} from './schedule.ts';

const ids = ['a', 'b', 'c'] as const;
const crons = [
  '0 2 * * *',
  '*/7 * * * *',
  '30 2,14 * * *',
  '* * * * * *',
  '15 3 * * 1',
  '0 0 29 2 *',
  '0 0 1 1 *',
];
const second = 1_000;
const hour = 3_600 * second;
const year = 365 * 24 * hour;

const Step = fc.oneof(
  fc.record({
    what: fc.constant('define' as const),
    id: fc.constantFrom(...ids),
    cron: fc.constantFrom(...crons),
    timeZone: fc.constantFrom('UTC', 'Europe/Vienna'),
    hostId: fc.constantFrom('lab', 'attic'),
  }),
  fc.record({ what: fc.constant('remove' as const), id: fc.constantFrom(...ids) }),
  fc.record({
    what: fc.constant('lead' as const),
    hostId: fc.constantFrom('lab', 'attic'),
    minutes: fc.constantFrom(null, 1, 60, 2_000),
  }),
  fc.record({ what: fc.constant('go' as const), by: fc.integer({ min: 0, max: 30 * second }) }),
  fc.record({ what: fc.constant('go' as const), by: fc.integer({ min: 0, max: 2 * hour }) }),
  fc.record({ what: fc.constant('go' as const), by: fc.integer({ min: 0, max: 30 * hour }) }),
  fc.record({ what: fc.constant('go' as const), by: fc.integer({ min: -12 * 60 * second, max: -1 }) }),
  fc.record({ what: fc.constant('go' as const), by: fc.integer({ min: -4 * year, max: 4 * year }) }),
);

class World {
  readonly agenda = new Agenda();
  readonly states = new Map<string, Schedule>();
  readonly leads = new Map<string, number>();
  readonly fired = new Map<string, string[]>();
  #clock = Date.parse('2026-03-28T20:00:00.000Z');
  #now = this.#clock;

  /** What the clock says: definitions are of that time. */
  get clock(): string {
    return new Date(this.#clock).toISOString();
  }

  /** What is gone by: a clock that goes back a little is taken to stand still. */
  get time(): string {
    return new Date(this.#now).toISOString();
  }

  go(by: number): void {
    this.#clock += by;
    const wentBack = this.#clock < this.#now - CLOCK_MARGIN_MILLISECONDS;
    this.#now = wentBack ? this.#clock : Math.max(this.#now, this.#clock);
  }

  stateOf = (id: string): Schedule => this.states.get(id) ?? schedule.initialState;

  command(id: string, command: ScheduleCommand): number {
    const decision = schedule.decide(this.stateOf(id), command);
    const events: ScheduleEvent[] = decision.ok ? decision.value : [];
    for (const event of events) {
      this.states.set(id, schedule.evolve(this.stateOf(id), event));
      this.agenda.apply(event);
      if (event.type === 'ScheduleFired')
        this.fired.set(id, [...(this.fired.get(id) ?? []), event.data.dueAt]);
    }
    return events.length;
  }

  setLead(hostId: string, preStartMinutes: number | null): void {
    this.leads.set(hostId, preStartMinutes ?? 0);
    const event = { type: 'HostPolicyDefined', data: { hostId, policy: { preStartMinutes } } };
    this.agenda.apply(event as unknown as Event<'HostPolicyDefined'>);
  }

  walk(): Due[] {
    const due: Due[] = [];
    for (const [scheduleId, state] of this.states) {
      if (futureOf(state, this.time) !== undefined) {
        due.push({ what: 'set back', scheduleId });
        continue;
      }
      const dueAt = dueTime(state, this.time);
      if (dueAt !== undefined) due.push({ what: 'fire', scheduleId, dueAt });
      const lead = this.leads.get(state.definition?.hostId ?? '') ?? 0;
      const soon = lead === 0 ? undefined : approachingTime(state, this.time, lead);
      if (soon !== undefined) due.push({ what: 'announce', scheduleId, dueAt: soon });
    }
    return due;
  }

  carryOut(due: Due): number {
    const { scheduleId: id } = due;
    switch (due.what) {
      case 'fire': {
        const command = { type: 'FireSchedule' as const, dueAt: due.dueAt, firedAt: this.time };
        return this.command(id, { ...command, backupId: backupIdOf(due.dueAt) });
      }
      case 'announce': {
        const command = { type: 'AnnounceSchedule' as const, dueAt: due.dueAt, announcedAt: this.time };
        return this.command(id, { ...command, backupId: backupIdOf(due.dueAt) });
      }
      case 'set back': {
        const fired = this.fired.get(id) ?? [];
        return this.command(id, { type: 'SetBackSchedule', fired, setBackAt: this.time });
      }
    }
  }

  /** As the scheduler does it, until nothing is named. */
  settle(): void {
    for (let rounds = 0; ; rounds += 1) {
      expect(rounds, 'It comes to an end').toBeLessThan(8);
      const walked = this.walk();
      const named: Due[] = [];
      for (let more = true; more; ) {
        const look = this.agenda.look(this.clock, 1);
        expect(look.now).toBe(this.time);
        named.push(...look.due);
        more = look.more;
      }
      expect(named.toSorted(byName)).toEqual(walked.toSorted(byName));
      if (named.length === 0) return;
      for (const due of named) expect(this.carryOut(due), `${due.what} takes effect`).toBe(1);
    }
  }
}

const byName = (one: Due, other: Due): number =>
  `${one.scheduleId} ${one.what}`.localeCompare(`${other.scheduleId} ${other.what}`);

test('the agenda names what a walk over all schedules finds', () => {
  fc.assert(
    fc.property(fc.array(Step, { minLength: 1, maxLength: 40 }), (steps) => {
      const world = new World();
      world.setLead('lab', 60);
      world.settle();
      for (const step of steps) {
        switch (step.what) {
          case 'define': {
            const { id: scheduleId, cron, timeZone, hostId } = step;
            const rule = { scheduleId, cron, timeZone, hostId, vmId: 'web', definedAt: world.clock };
            const definition = { ...rule, kind: 'auto' as const, policyId: 'default' };
            world.command(scheduleId, { type: 'DefineSchedule', definition });
            break;
          }
          case 'remove':
            world.command(step.id, { type: 'RemoveSchedule', scheduleId: step.id, removedAt: world.clock });
            break;
          case 'lead':
            world.setLead(step.hostId, step.minutes);
            break;
          case 'go':
            world.go(step.by);
        }
        world.settle();
      }
    }),
    { numRuns: 200 },
  );
});
