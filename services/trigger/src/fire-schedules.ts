/**
 * A schedule that came due: recorded, and its backup asked for, in one append, so neither is there without the other. One that soon
 * will: the backup that it will ask for has its id already, so what is prepared for it is part of its story. And one that a clock left
 * in the future. `now` is the time by the log's clock.
 */
import type { Event, EventData, Origin } from '@backhaul/contracts';
import { type CommandService, type StreamAppend, untilAppended } from '@backhaul/event-store';
import { derivedId, ok, type Refusal } from '@backhaul/kernel';
import { runIdFor, runIdOf } from './core/run.ts';
import {
  requestIdOf,
  type Schedule,
  type ScheduleCommand,
  type ScheduleEvent,
  schedule,
  scheduleStream,
} from './core/schedule.ts';
import { waitingForSchedule } from './core/vm.ts';
import { appendsOf, type Desk } from './subjects.ts';

export type Schedules = CommandService<Schedule, ScheduleCommand, ScheduleEvent>;

/** Safe to call by any number of triggers for the same due time. */
export async function announceSchedule(
  schedules: Schedules,
  scheduleId: string,
  dueAt: string,
  now: string,
): Promise<void> {
  const requestId = requestIdOf(scheduleId, dueAt);
  const backupId = runIdFor('backup', requestId);
  const stream = scheduleStream(scheduleId);
  const { state } = await schedules.load(stream);
  const command = { type: 'AnnounceSchedule' as const, dueAt, announcedAt: now, backupId };
  await schedules.execute(stream, command, {
    // A schedule that is defined anew is announced anew.
    commandId: derivedId('AnnounceSchedule', scheduleId, dueAt, state.definition?.definedAt ?? 'removed'),
    metadata: { causation: requestId, actor: 'trigger', correlation: backupId },
  });
}

/** Safe to call by any number of triggers for the same due time. */
export async function fireSchedule(
  desk: Desk,
  schedules: Schedules,
  scheduleId: string,
  dueAt: string,
  now: string,
): Promise<void> {
  const requestId = requestIdOf(scheduleId, dueAt);
  const itsBackupId = runIdFor('backup', requestId);
  const context = {
    commandId: derivedId('FireSchedule', scheduleId, dueAt),
    metadata: { causation: requestId, actor: 'trigger', correlation: itsBackupId },
  };
  await untilAppended<void, Refusal>(desk.store, context, async () => {
    const nothing = { appends: [] as StreamAppend[], onAppended: () => undefined };
    const loaded = await schedules.load(scheduleStream(scheduleId));
    if (loaded.state.definition === null) return ok(nothing);
    const { hostId: host, vmId, kind, policyId, priority } = loaded.state.definition;
    const request = { requestId, host, vm: vmId, kind, mode: 'auto' as const, policy: policyId, priority };
    const origin: Origin = { via: 'schedule', requestId, scheduleId };
    const { subjects, decision } = await desk.decideRequest({ purpose: 'backup', request }, origin);
    const inLine = waitingForSchedule(subjects.vm.state, scheduleId);
    const backupId = inLine === undefined ? itsBackupId : runIdOf(inLine);
    const command = { type: 'FireSchedule' as const, dueAt, firedAt: now, backupId };
    const fired = schedule.decide(loaded.state, command);
    if (!fired.ok || fired.value.length === 0) return ok(nothing);
    const fires = { stream: scheduleStream(scheduleId), expected: loaded.version, events: fired.value };
    const asks = decision.ok && inLine === undefined ? appendsOf(subjects, decision.value) : [];
    return ok({ ...nothing, appends: [fires, ...asks] });
  });
}

/** What it was set back from and to; undefined: it stood as it should. */
export async function setBackSchedule(
  desk: Desk,
  schedules: Schedules,
  scheduleId: string,
  now: string,
): Promise<EventData<'ScheduleSetBack'> | undefined> {
  const stream = scheduleStream(scheduleId);
  // The fold does not keep what was fired before: it is read when it is needed, which is hardly ever.
  const fired: string[] = [];
  for await (const { type, data } of desk.store.readStream(stream) as AsyncIterable<Event>)
    if (type === 'ScheduleFired') fired.push(data.dueAt);
  const { version } = await schedules.load(stream);
  const command = { type: 'SetBackSchedule' as const, fired, setBackAt: now };
  const outcome = await schedules.execute(stream, command, {
    commandId: derivedId('SetBackSchedule', scheduleId, String(version)),
    metadata: { causation: `clock of the log at ${now}`, actor: 'trigger', correlation: stream },
  });
  const [event] = outcome.ok ? outcome.value.events : [];
  return event?.type === 'ScheduleSetBack' ? event.data : undefined;
}
