/**
 * How a whole recovery ends: stream `export-<recoveryId>`, which has DataExported at most once, and then exactly one of
 * RecoveryCompleted and RecoveryFailed. Promise kept here: whatever asks twice, or late, changes nothing.
 */
import {
  type Event,
  type EventData,
  type EventMetadata,
  type Recorded,
  type RecoveryPlan,
  type RecoveryTotals,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import type { EventStore, EventTransaction, StreamReader } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';

export const recoveryStream = (recoveryId: string): StreamName => streamName('export', recoveryId);

export interface Recovery {
  readonly exported: RecoveryTotals | undefined;
  readonly ended: boolean;
}

export const newRecovery: Recovery = { exported: undefined, ended: false };

export function evolve(recovery: Recovery, event: Event): Recovery {
  switch (event.type) {
    case 'DataExported':
      return { ...recovery, exported: event.data.totals };
    case 'RecoveryCompleted':
    case 'RecoveryFailed':
      return { ...recovery, ended: true };
    default:
      return recovery;
  }
}

/** Nothing where it was said before, or where the recovery has ended meanwhile. */
export const dataExported = (
  recovery: Recovery,
  plan: RecoveryPlan,
  totals: RecoveryTotals,
  exportedAt: string,
): Event[] => {
  if (recovery.ended || recovery.exported !== undefined) return [];
  const { recoveryId, hostId, vmId } = plan;
  return [{ type: 'DataExported', data: { recoveryId, hostId, vmId, totals, exportedAt } }];
};

export const recoveryCompleted = (
  recovery: Recovery,
  plan: RecoveryPlan,
  kept: EventData<'TargetKept'>,
  completedAt: string,
): Event[] => {
  if (recovery.ended) return [];
  const { recoveryId, hostId, vmId, backupId, mode } = plan;
  // A host that keeps what was never said to be whole has shown a half VM as a whole one.
  if (recovery.exported === undefined)
    throw new Fault(`Vm ${vmId} was kept at host ${hostId} before all of it was exported`, {
      permanent: true,
    });
  const { exported: totals } = recovery;
  const { started, notStarted } = kept;
  return [
    {
      type: 'RecoveryCompleted',
      data: { recoveryId, hostId, vmId, backupId, mode, totals, started, notStarted, completedAt },
    },
  ];
};

/** The host filled the disks of the running VM: every chunk was checked on its way out, and none was read back. */
export const recoveryFilled = (recovery: Recovery, plan: RecoveryPlan, completedAt: string): Event[] => {
  if (recovery.ended) return [];
  const { recoveryId, hostId, vmId, backupId, mode, disks } = plan;
  const diskBytes = disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const writtenBytes = disks.reduce((sum, { bytesToWrite }) => sum + bytesToWrite, 0);
  const totals = {
    diskBytes,
    writtenBytes,
    zeroBytes: diskBytes - writtenBytes,
    verifiedBytes: 0,
    chunks: 0,
  };
  return [
    {
      type: 'RecoveryCompleted',
      data: {
        ...{ recoveryId, hostId, vmId, backupId, mode, totals, started: true, notStarted: null },
        completedAt,
      },
    },
  ];
};

export const recoveryFailed = (
  recovery: Recovery,
  failed: Omit<EventData<'RecoveryFailed'>, 'failedAt'>,
  failedAt: string,
): Event[] => (recovery.ended ? [] : [{ type: 'RecoveryFailed', data: { ...failed, failedAt } }]);

/** Decides at the stream as it stands. Where somebody else was quicker it is a conflict, and worth another try. */
export async function decideRecovery(
  store: EventStore | EventTransaction,
  recoveryId: string,
  command: { commandId: string; metadata: EventMetadata },
  decide: (recovery: Recovery) => Event[],
): Promise<void> {
  const { recovery, version } = await loadRecovery(store, recoveryId);
  const events = decide(recovery);
  if (events.length === 0) return;
  const appended = await store.append(
    [{ stream: recoveryStream(recoveryId), expected: version, events }],
    command,
  );
  if (!appended.ok) throw new Fault(appended.refusal.message, { code: appended.refusal.code });
}

export async function loadRecovery(
  reader: StreamReader,
  recoveryId: string,
): Promise<{ recovery: Recovery; version: number }> {
  const { events, version } = await reader.readStreamPage(recoveryStream(recoveryId));
  return { recovery: events.reduce(evolve, newRecovery), version };
}

/** The plan, as the planner recorded it. */
export async function planOf(reader: StreamReader, recoveryId: string): Promise<RecoveryPlan> {
  const plan = await planIfAny(reader, recoveryId);
  if (plan === undefined)
    throw new Fault(`Recovery ${recoveryId} has no plan in the log`, { permanent: true });
  return plan;
}

export async function planIfAny(reader: StreamReader, recoveryId: string): Promise<RecoveryPlan | undefined> {
  for await (const event of reader.readStream(streamName('plan', recoveryId))) {
    if (event.type === 'RecoveryProxiesCalculated') return event.data;
  }
  return undefined;
}

export const causedBy = (cause: Recorded, recoveryId: string): EventMetadata => ({
  ...cause.metadata,
  correlation: recoveryId,
  causation: cause.eventId,
  actor: 'export',
});
