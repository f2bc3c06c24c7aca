/**
 * Finds, in a log that streams by, each plan together with all that it was made from: what triggered it, what was found, and which
 * proxies it saw. What a plan is compared with, now or under another policy, is the business of those who ask.
 */
import type { Event, Inspection, Plan, RecoveryInspection, RecoveryPlan } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import {
  backupPlan,
  type KindOfPlan,
  type PoolView,
  recoveryPlan,
  type TriggeredBackup,
  type TriggeredRecovery,
} from '@backhaul/planning';
import type { Logged } from './logged.ts';
import { Recent } from './recent.ts';
import { ViewHistory } from './view-history.ts';

/** A plan or a refusal as it is recorded. `calculate`: what comes of the same input today, under this policy or the recorded one. */
export interface RecordedPlan {
  readonly event: Logged;
  readonly runId: string;
  readonly hostId: string;
  readonly vmId: string;
  readonly policy: TriggeredBackup['policy'];
  /** Policies that may be planned with beside it get the same proxies to see. */
  calculate(policy?: TriggeredBackup['policy']): Event;
}

export type Found = RecordedPlan | { readonly event: Logged; readonly notCheckable: string };

/** Runs that were triggered and are not planned yet: kept until then, and this many at most. */
const TRIGGERED_MAX = 50_000;
/** Shadows are recorded with their plan: what stands between the two are the plans of others. */
const PLANNED_MAX = 1_000;

interface Begun {
  readonly triggered: TriggeredBackup | TriggeredRecovery;
  inspection: Inspection | RecoveryInspection | undefined;
}

/** Refused by a command of its own (libs/planning, run-plan.ts), and not by a calculation: whoever appends gives ids that tell. */
const isGivenUp = ({ eventId }: Logged, runId: string): boolean =>
  eventId === derivedId(derivedId('RefusePlan', runId), 0);

export class RecordedPlans {
  readonly #begun = new Recent<Begun>(TRIGGERED_MAX);
  readonly #planned = new Recent<RecordedPlan>(PLANNED_MAX);
  readonly #views = new Map<string, ViewHistory>();

  /** Undefined when the event is no plan. */
  take(event: Logged): Found | undefined {
    if (event.category === 'host') this.#viewsOf(event.stream).take(event);
    switch (event.type) {
      case 'BackupTriggered':
        this.#begun.set(event.data.backupId, { triggered: event.data, inspection: undefined });
        return undefined;
      case 'RecoveryTriggered':
        this.#begun.set(event.data.recoveryId, { triggered: event.data, inspection: undefined });
        return undefined;
      case 'VmInspected':
        this.#inspected(event.data.backupId, backupPlan.inspectionIn(event));
        return undefined;
      case 'RecoveryInspected':
        this.#inspected(event.data.recoveryId, recoveryPlan.inspectionIn(event));
        return undefined;
      case 'BackupCancelled':
        this.#begun.delete(event.data.backupId);
        return undefined;
      case 'RecoveryCancelled':
        this.#begun.delete(event.data.recoveryId);
        return undefined;
      case 'ProxiesCalculated':
      case 'PlanRefused':
        return this.#decided(event, event.data.backupId, backupPlan);
      case 'RecoveryProxiesCalculated':
      case 'RecoveryPlanRefused':
        return this.#decided(event, event.data.recoveryId, recoveryPlan);
      default:
        return undefined;
    }
  }

  /** The plan that was made of a run, for who asks what another policy would have made of it. */
  planOf(runId: string): RecordedPlan | undefined {
    return this.#planned.get(runId);
  }

  #inspected(runId: string, inspection: Begun['inspection']): void {
    const begun = this.#begun.get(runId);
    if (begun !== undefined) begun.inspection ??= inspection;
  }

  #decided<T extends Begun['triggered'], I, E extends Event>(
    event: Logged,
    runId: string,
    kind: KindOfPlan<T, I, E>,
  ): Found {
    const begun = this.#begun.get(runId);
    this.#begun.delete(runId);
    if (begun === undefined) return { event, notCheckable: 'what triggered the run is not in this log' };
    if (begun.inspection === undefined || isGivenUp(event, runId))
      return { event, notCheckable: 'refused before anything was calculated' };
    const view = this.#viewOf(event);
    if (typeof view === 'string') return { event, notCheckable: view };
    // Kinds go with what they trigger and find: BackupTriggered, VmInspected and ProxiesCalculated name one id.
    const [triggered, inspection] = [begun.triggered as T, begun.inspection as I];
    const { hostId, vmId, policy } = begun.triggered;
    const found: RecordedPlan = {
      ...{ event, runId, hostId, vmId, policy },
      calculate: (other) =>
        kind.calculated(inspection, other === undefined ? triggered : { ...triggered, policy: other }, view),
    };
    this.#planned.set(runId, found);
    return found;
  }

  /** The reason where there is none. */
  #viewOf(event: Logged): PoolView | string {
    // No refusal depends on which proxies are up.
    if (event.type === 'PlanRefused' || event.type === 'RecoveryPlanRefused') return { activeProxies: [] };
    const { hostId, hostVersion, arithmetic, policy } = event.data as Plan | RecoveryPlan;
    if (hostVersion !== undefined)
      return (
        this.#viewsOf(`host-${hostId}`).at(hostVersion) ??
        "the log does not have the host's stream as far as the plan saw it"
      );
    // Before version 3 a plan said how many it had counted, and not where: the number is taken at its word.
    if (arithmetic.activeProxies === undefined) return 'recorded before a plan said how many proxies it saw';
    const ports = Math.max(policy.portsPerChildJob, policy.portsPerStream);
    const activeProxies = Array.from({ length: arithmetic.activeProxies }, (_, index) => ({
      proxyId: `p${index}`,
      ports,
    }));
    return { activeProxies };
  }

  #viewsOf(stream: string): ViewHistory {
    let views = this.#views.get(stream);
    if (views === undefined) {
      views = new ViewHistory();
      this.#views.set(stream, views);
    }
    return views;
  }
}
