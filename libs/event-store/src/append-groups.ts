/**
 * Appends that are made while others are on their way travel together: one call, one transaction, one wait for the disk.
 * A caller alone is sent at once; under load the groups grow by themselves, as far as they are allowed to. Each command
 * keeps its own outcome. When Postgres refuses a group, its commands are sent one by one, so that only the culprit fails.
 */
import type { Result } from '@backhaul/kernel';
import type { PreparedAppend } from './append.ts';
import type { Appended, VersionConflict } from './event-store.ts';
import { stateOf } from './postgres-fault.ts';

type Outcome = Result<Appended, VersionConflict>;

interface Waiting {
  readonly command: PreparedAppend;
  resolve(outcome: Outcome): void;
  reject(error: unknown): void;
}

/** Two, so that one group is on its way while another waits for the disk. */
const GROUPS_UNDER_WAY = 2;
/** Waiting pays while a group is small. A full one leaves at once, for Postgres to work on side by side with the others. */
const FULL_GROUP_EVENTS = 64;
const FULL_GROUPS_UNDER_WAY = 4;
/** How far to look for commands that may go: far enough for a full group, and bounded when thousands wait for one stream. */
const LOOK_AHEAD = 256;

export function groupingAppends(
  send: (commands: readonly PreparedAppend[]) => Promise<readonly Outcome[]>,
): (command: PreparedAppend) => Promise<Outcome> {
  const queue: Waiting[] = [];
  const underWay = new Set<readonly Waiting[]>();

  const mayLeave = (): boolean =>
    underWay.size < GROUPS_UNDER_WAY ||
    (underWay.size < FULL_GROUPS_UNDER_WAY && eventsOf(queue) >= FULL_GROUP_EVENTS);
  const dispatch = (): void => {
    while (queue.length > 0 && mayLeave()) {
      const group = takeGroup(queue, new Set([...underWay].flat().flatMap(namesOf)));
      if (group.length === 0) return;
      underWay.add(group);
      deliver(group, send).finally(() => {
        underWay.delete(group);
        dispatch();
      });
    }
  };
  return (command) =>
    new Promise((resolve, reject) => {
      queue.push({ command, resolve, reject });
      dispatch();
    });
}

/** What no two commands at work at the same time may share: a stream, or being the same command. */
const namesOf = ({ command }: Waiting): string[] => [
  `command ${command.context.commandId}`,
  ...command.appends.map((append) => append.stream),
];

/** Settles every command of the group; never rejects itself. */
async function deliver(
  group: readonly Waiting[],
  send: (commands: readonly PreparedAppend[]) => Promise<readonly Outcome[]>,
): Promise<void> {
  try {
    const outcomes = await send(group.map((each) => each.command));
    for (const [index, each] of group.entries()) each.resolve(outcomes[index] as Outcome);
  } catch (error) {
    // The server itself refused, and rolled back. A lost connection is for the callers to see: it may have been stored.
    if (group.length > 1 && stateOf(error) !== undefined) {
      for (const each of group) await deliver([each], send);
    } else {
      for (const each of group) each.reject(error);
    }
  }
}

/**
 * From the front of the queue, as much as may go together. Commands over the same stream go one after the other, in the order in
 * which they were made: each must see what the one before it did, and waiting here costs no row lock.
 */
function takeGroup(queue: Waiting[], busy: Set<string>): Waiting[] {
  const [group, left]: [Waiting[], Waiting[]] = [[], []];
  let seen = 0;
  while (seen < Math.min(queue.length, LOOK_AHEAD) && eventsOf(group) < FULL_GROUP_EVENTS) {
    const waiting = queue[seen] as Waiting;
    seen += 1;
    const names = namesOf(waiting);
    if (!names.some((name) => busy.has(name))) {
      group.push(waiting);
    } else {
      left.push(waiting);
    }
    // Also those of one that is left: a later command must not overtake it.
    for (const name of names) busy.add(name);
  }
  queue.splice(0, seen, ...left);
  return group;
}

/** At least one each: a command that only guards a stream costs a place, too. Counts no further than a full group. */
function eventsOf(commands: readonly Waiting[]): number {
  let events = 0;
  for (const { command } of commands) {
    events += Math.max(1, command.drafts.length);
    if (events >= FULL_GROUP_EVENTS) break;
  }
  return events;
}
