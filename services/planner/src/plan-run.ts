/**
 * From `BackupTriggered` or `RecoveryTriggered` to a plan: inspect, calculate, record both in one append, the inspection first. An inspection
 * that is on record already is used and not made again, so this may be repeated, stop anywhere, and go on in another process.
 * A plan that is given up ends as a refusal with the reason, or the VM's turn would be kept by a run that nobody works at.
 */
import type { Event, EventMetadata, HostId, Policy } from '@backhaul/contracts';
import { commandService, type EventStore } from '@backhaul/event-store';
import { derivedId, describeError, type Result } from '@backhaul/kernel';
import { type KindOfPlan, type PlanCommand, type PoolView, planningOf, planStream } from '@backhaul/planning';

export interface Surroundings<Triggered, Inspection> {
  inspect(triggered: Triggered, signal: AbortSignal): Promise<Result<Inspection>>;
  poolOf(hostId: HostId): Promise<PoolView>;
  /** Asked once more after the inspection, which may take a while: what is to end, or to stand still, is not planned. */
  isDue(triggered: Triggered): Promise<boolean>;
  /** Policies to plan with beside a policy, for nobody to act on. */
  shadowsOf(policyId: string): Promise<readonly Policy[]>;
}

/** Of the event that a run was triggered with. */
interface Trigger<Triggered> {
  readonly eventId: string;
  readonly data: Triggered;
  readonly metadata: EventMetadata;
}

export interface Planner<Triggered> {
  handle(event: Trigger<Triggered>, signal: AbortSignal): Promise<void>;
  /** The message will not be tried again. */
  givenUp(event: Trigger<Triggered>, error: unknown): Promise<void>;
}

export function planner<
  Triggered extends { readonly hostId: HostId; readonly vmId: string; readonly policy: Policy },
  Inspection,
  PlanEvent extends Event,
>(
  store: EventStore,
  kind: KindOfPlan<Triggered, Inspection, PlanEvent>,
  { inspect, poolOf, isDue, shadowsOf }: Surroundings<Triggered, Inspection>,
): Planner<Triggered> {
  const plans = commandService(store, planningOf(kind));

  const execute = async (
    { eventId: causation, metadata, data }: Trigger<Triggered>,
    command: PlanCommand<Triggered, Inspection>,
  ): Promise<void> => {
    const runId = kind.runIdOf(data);
    const { correlation, traceparent } = metadata;
    await plans.execute(planStream(runId), command, {
      commandId: derivedId(command.type, runId),
      metadata: {
        ...{ correlation, causation, actor: 'planner' },
        ...(traceparent === undefined ? {} : { traceparent }),
      },
    });
  };

  const surroundingsOf = async (triggered: Triggered) => ({
    triggered,
    pool: await poolOf(triggered.hostId),
    shadows: await shadowsOf(triggered.policy.policyId),
  });

  return {
    async handle(event, signal) {
      const triggered = event.data;
      const { state } = await plans.load(planStream(kind.runIdOf(triggered)));
      if (state.state === 'decided') return;
      if (state.state === 'inspected') {
        return await execute(event, { type: 'CalculateProxies', ...(await surroundingsOf(triggered)) });
      }
      const inspected = await inspect(triggered, signal);
      if (!(await isDue(triggered))) return;
      if (!inspected.ok)
        return await execute(event, { type: 'RefusePlan', triggered, refusal: inspected.refusal });
      const inspection = inspected.value;
      const surroundings = await surroundingsOf(triggered);
      await execute(event, { type: 'InspectAndCalculate', inspection, ...surroundings });
    },

    async givenUp(event, error) {
      const { hostId, vmId } = event.data;
      const refusal = {
        code: 'PlanningFailed',
        message: `A run of vm ${vmId} on host ${hostId} could not be planned: ${describeError(error)}.`,
        wayOut: 'Mend the cause named, then ask for it again under another request id.',
      };
      await execute(event, { type: 'RefusePlan', triggered: event.data, refusal });
    },
  };
}
