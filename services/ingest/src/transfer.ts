/**
 * How a whole backup ends: stream `transfer-<backupId>`, which has exactly one event, BackupCompleted or BackupFailed.
 * Promise kept here: BackupCompleted is appended only when every child job of the plan has completed and the manifest
 * is durable. Whatever asks twice, or late, changes nothing.
 */
import {
  type Event,
  type EventData,
  type EventMetadata,
  type Recorded,
  type RestorePoint,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import type { EventStore, EventTransaction, StreamReader } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';

export const transferStream = (backupId: string): StreamName => streamName('transfer', backupId);

export async function hasEnded(reader: StreamReader, backupId: string): Promise<boolean> {
  return (await reader.readStreamPage(transferStream(backupId), 0, 1)).version > 0;
}

/** Appends the one event of the stream; false when it has one already. */
export async function end(
  store: EventStore | EventTransaction,
  event: Event<'BackupCompleted' | 'BackupFailed'>,
  metadata: EventMetadata,
): Promise<boolean> {
  const appended = await store.append(
    [{ stream: transferStream(event.data.backupId), expected: 'none', events: [event] }],
    {
      commandId: `end ${event.data.backupId} ${metadata.causation}`,
      metadata,
    },
  );
  return appended.ok;
}

/** The run could not be carried further by the host: the backup has failed, for the reason the host gave. */
export const failedBecause = (event: Recorded<'RunFailed'>, failedAt: string): Event<'BackupFailed'> => {
  const { runId: backupId, hostId, vmId, refusal } = event.data;
  return { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt } };
};

/** The plan, as the planner recorded it. */
export async function planOf(
  reader: StreamReader,
  backupId: string,
): Promise<EventData<'ProxiesCalculated'>> {
  for await (const event of reader.readStream(streamName('plan', backupId))) {
    if (event.type === 'ProxiesCalculated') return event.data;
  }
  throw new Fault(`Backup ${backupId} has no plan in the log`, { permanent: true });
}

export const parentOf = async (reader: StreamReader, backupId: string): Promise<RestorePoint | null> =>
  (await planOf(reader, backupId)).parent;
