/**
 * What another policy would have made of the runs in a log: each recorded inspection is planned again with it, with the proxies that the plan
 * saw. Nothing else is changed: the proxies that are up are those of the policy that was carried out. Rows as the log streams by, and sums.
 */
import type { PlanSummary, Policy, Purpose, StoredRecord } from '@backhaul/contracts';
import { differencesOf, summaryOf } from '@backhaul/planning';
import { loggedFrom } from './logged.ts';
import { type RecordedPlan, RecordedPlans } from './recorded-plans.ts';

export interface ShadowRow {
  readonly position: number;
  readonly recordedAt: string;
  readonly runId: string;
  readonly hostId: string;
  readonly vmId: string;
  readonly purpose: Purpose;
  readonly livePolicyId: string;
  readonly live: PlanSummary;
  readonly shadow: PlanSummary;
  /** In what they differ; empty where they do not. */
  readonly differences: readonly (keyof PlanSummary)[];
}

/** Of all rows, on one side. */
export interface ShadowSums {
  proxyVm: number;
  directToHost: number;
  refused: number;
  childJobs: number;
  proxies: number;
}

const noSums = (): ShadowSums => ({ proxyVm: 0, directToHost: 0, refused: 0, childJobs: 0, proxies: 0 });

export class ShadowPlans {
  readonly sums = { plans: 0, differing: 0, live: noSums(), shadow: noSums() };
  /** Plans that cannot be made again, by reason. */
  readonly notCheckable = new Map<string, number>();
  readonly #plans = new RecordedPlans();
  readonly #policyFor: (live: Policy) => Policy;
  readonly #concerns: (plan: RecordedPlan) => boolean;

  constructor(
    policyFor: (live: Policy) => Policy,
    concerns: (plan: Pick<RecordedPlan, 'event' | 'hostId'>) => boolean = () => true,
  ) {
    this.#policyFor = policyFor;
    this.#concerns = concerns;
  }

  /** Undefined when the event is no plan that is of concern. */
  take(stored: StoredRecord): ShadowRow | undefined {
    const event = loggedFrom(stored);
    const found = event === undefined ? undefined : this.#plans.take(event);
    if (found === undefined) return undefined;
    if ('notCheckable' in found) {
      this.notCheckable.set(found.notCheckable, (this.notCheckable.get(found.notCheckable) ?? 0) + 1);
      return undefined;
    }
    return this.#concerns(found) ? this.#rowOf(found) : undefined;
  }

  #rowOf(plan: RecordedPlan): ShadowRow | undefined {
    const { event, runId, hostId, vmId, policy } = plan;
    const live = summaryOf(event);
    const shadow = summaryOf(plan.calculate(this.#policyFor(policy)));
    if (live === undefined || shadow === undefined) return undefined;
    const differences = differencesOf(live, shadow);
    this.sums.plans += 1;
    if (differences.length > 0) this.sums.differing += 1;
    add(this.sums.live, live);
    add(this.sums.shadow, shadow);
    const purpose = 'recoveryId' in event.data ? 'recovery' : 'backup';
    const { position, recordedAt } = event;
    const livePolicyId = policy.policyId;
    return { position, recordedAt, runId, hostId, vmId, purpose, livePolicyId, live, shadow, differences };
  }
}

function add(sums: ShadowSums, { mode, childJobs, proxies }: PlanSummary): void {
  if (mode === null) sums.refused += 1;
  else if (mode === 'proxy-vm') sums.proxyVm += 1;
  else sums.directToHost += 1;
  sums.childJobs += childJobs;
  sums.proxies += proxies;
}
