/**
 * From `BackupTriggered` or `RecoveryTriggered` to a plan: inspect, calculate, record both in one append, the inspection first. An inspection
 * that is on record already is used and not made again, so this may be repeated, stop anywhere, and go on in another process.
 */
import type { Event, EventMetadata, HostId } from '@backhaul/contracts';
import { commandService, type EventStore } from '@backhaul/event-store';
import { derivedId, type Result } from '@backhaul/kernel';
import { type KindOfPlan, type PlanCommand, type PoolView, planningOf, planStream } from '@backhaul/planning';

export interface Surroundings<Triggered, Inspection> {
  inspect(triggered: Triggered, signal: AbortSignal): Promise<Result<Inspection>>;
  poolOf(hostId: HostId): Promise<PoolView>;
}

/** Of the event that a run was triggered with. */
interface Trigger<Triggered> {
  readonly eventId: string;
  readonly data: Triggered;
  readonly metadata: EventMetadata;
}

export function planner<Triggered extends { readonly hostId: HostId }, Inspection, PlanEvent extends Event>(
  store: EventStore,
  kind: KindOfPlan<Triggered, Inspection, PlanEvent>,
  { inspect, poolOf }: Surroundings<Triggered, Inspection>,
) {
  const plans = commandService(store, planningOf(kind));

  return async (event: Trigger<Triggered>, signal: AbortSignal): Promise<void> => {
    const triggered = event.data;
    const runId = kind.runIdOf(triggered);
    const stream = planStream(runId);
    const { correlation, traceparent } = event.metadata;
    const metadata = {
      correlation,
      causation: event.eventId,
      actor: 'planner',
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const execute = (command: PlanCommand<Triggered, Inspection>) =>
      plans.execute(stream, command, { commandId: derivedId(command.type, runId), metadata });

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
