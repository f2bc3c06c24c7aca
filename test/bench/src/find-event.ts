/** Waits for an event of a backup in the log, or for its failure, which ends the benchmark. */
import type { EventType } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { eventually, Fault } from '@backhaul/kernel';

export async function find(log: EventStore, backupId: string, type: EventType) {
  return await eventually(`${type} of ${backupId}`, 300_000, async () => {
    const page = await log.readLog(0, {
      correlation: backupId,
      types: [type, 'BackupFailed', 'PlanRefused'],
      limit: 1,
    });
    const [event] = page.events;
    if (event !== undefined && event.type !== type)
      throw new Fault(`The backup failed: ${JSON.stringify(event.data)}`);
    return event as unknown as { recordedAt: string; data: { completedAt: string } } | undefined;
  });
}
