/**
 * From `BackupTriggered` to a plan: inspect, record, calculate, record. Each step is skipped when it is on record already,
 * so this may be repeated, stop anywhere, and go on in another process.
 */
import type { Inspection, Recorded } from '@backhaul/contracts';
import { commandService, type EventStore } from '@backhaul/event-store';
import { derivedId, type Result } from '@backhaul/kernel';
import type { PoolView } from '@backhaul/planning';
import { type PlanCommand, planning, planStream, type Triggered } from './core/planning.ts';

export interface Surroundings {
  inspect(triggered: Triggered, signal: AbortSignal): Promise<Result<Inspection>>;
  poolOf(hostId: string): Promise<PoolView>;
}

export function backupPlanner(store: EventStore, { inspect, poolOf }: Surroundings) {
  const plans = commandService(store, planning);

  return async (event: Recorded<'BackupTriggered'>, signal: AbortSignal): Promise<void> => {
    const triggered = event.data;
    const stream = planStream(triggered.backupId);
    const { correlation, traceparent } = event.metadata;
    const metadata = {
      correlation,
      causation: event.eventId,
      actor: 'planner',
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const execute = (command: PlanCommand) =>
      plans.execute(stream, command, { commandId: derivedId(command.type, triggered.backupId), metadata });

    const { state } = await plans.load(stream);
    if (state.state === 'decided') return;
    if (state.state === 'asked') {
      const inspected = await inspect(triggered, signal);
      if (!inspected.ok) {
        await execute({ type: 'RefusePlan', triggered, refusal: inspected.refusal });
        return;
      }
      await execute({ type: 'RecordInspection', triggered, inspection: inspected.value });
    }
    await execute({ type: 'CalculateProxies', triggered, pool: await poolOf(triggered.hostId) });
  };
}
