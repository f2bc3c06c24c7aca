/**
 * Whether a run that was triggered is to be planned now, as the trigger's own stream of it says: not while it is paused, because it would be
 * planned on what it finds then; and not when it is to end. What was triggered while paused is planned when it goes on.
 */
import { type Event, type Recorded, type StreamName, streamName } from '@backhaul/contracts';
import type { StreamReader } from '@backhaul/event-store';

type Triggered = 'BackupTriggered' | 'RecoveryTriggered';

export interface DueRun<T extends Triggered> {
  /** Undefined: it waits for its turn still. */
  readonly triggered: Recorded<T> | undefined;
  readonly isDue: boolean;
}

export function dueRun<T extends Triggered>(type: T, events: readonly Recorded[]): DueRun<T> {
  let triggered: Recorded<T> | undefined;
  let isWanted = true;
  for (const event of events) {
    const { type: said } = event as Event;
    if (said === type) triggered = event as Recorded<T>;
    if (said === 'BackupPaused' || said === 'RecoveryPaused') isWanted = false;
    if (said === 'BackupResumed' || said === 'RecoveryResumed') isWanted = true;
    if (said === 'BackupCancelOrdered' || said === 'RecoveryCancelOrdered')
      return { triggered, isDue: false };
  }
  return { triggered, isDue: triggered !== undefined && isWanted };
}

type News<T extends Triggered> = Recorded<
  T | (T extends 'BackupTriggered' ? 'BackupResumed' : 'RecoveryResumed')
>;

/** Plans on either news: that a run was triggered, and that one goes on. What is given up is what was due then. */
export function whenDue<T extends Triggered>(
  reader: StreamReader,
  type: T,
  planner: {
    handle(triggered: Recorded<T>, signal: AbortSignal): Promise<void>;
    givenUp(triggered: Recorded<T>, error: unknown): Promise<void>;
  },
) {
  const ifDue = async (news: News<T>, work: (triggered: Recorded<T>) => Promise<void>): Promise<void> => {
    const { triggered, isDue } = await dueRunIn(reader, type, runStreamOf(news.data));
    if (triggered !== undefined && isDue) await work(triggered);
  };
  return {
    handle: (news: News<T>, signal: AbortSignal): Promise<void> =>
      ifDue(news, (triggered) => planner.handle(triggered, signal)),
    givenUp: (news: News<T>, error: unknown): Promise<void> =>
      ifDue(news, (triggered) => planner.givenUp(triggered, error)),
  };
}

export const dueRunIn = async <T extends Triggered>(
  reader: StreamReader,
  type: T,
  stream: StreamName,
): Promise<DueRun<T>> => dueRun(type, await Array.fromAsync(reader.readStream(stream)));

export const runStreamOf = (data: {
  readonly backupId?: string;
  readonly recoveryId?: string;
}): StreamName =>
  data.recoveryId === undefined
    ? streamName('backup', data.backupId ?? '')
    : streamName('recovery', data.recoveryId);
