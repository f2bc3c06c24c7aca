/**
 * From `BackupTriggered` to a plan: inspect, calculate, record both in one append, the inspection first. An inspection that is on
 * record already is used and not made again, so this may be repeated, stop anywhere, and go on in another process.
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
    if (state.state === 'inspected') {
      await execute({ type: 'CalculateProxies', triggered, pool: await poolOf(triggered.hostId) });
      return;
    }
    const inspected = await inspect(triggered, signal);
    await execute(
      inspected.ok
        ? {
            type: 'InspectAndCalculate',
            triggered,
            inspection: inspected.value,
            pool: await poolOf(triggered.hostId),
          }
        : { type: 'RefusePlan', triggered, refusal: inspected.refusal },
    );
  };
}
