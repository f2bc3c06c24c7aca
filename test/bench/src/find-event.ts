/** Waits for an event of a backup or a recovery in the log, or for its failure, which ends the benchmark. */
import type { EventType } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { eventually, Fault } from '@backhaul/kernel';

const FAILURES: readonly EventType[] = [
  'BackupFailed',
  'PlanRefused',
  'RecoveryFailed',
  'RecoveryPlanRefused',
  'RecoveryRefused',
];

export async function find(log: EventStore, runId: string, type: EventType) {
  return await eventually(`${type} of ${runId}`, 300_000, async () => {
    const page = await log.readLog(0, { correlation: runId, types: [type, ...FAILURES], limit: 1 });
    const [event] = page.events;
    if (event !== undefined && event.type !== type)
      throw new Fault(`${event.type} in place of ${type}: ${JSON.stringify(event.data)}`);
    return event as unknown as { recordedAt: string; data: { completedAt: string } } | undefined;
  });
}
