/**
 * What another policy would have made of a run, beside the plan that is carried out. Pure. Of the same findings and with the same proxies up:
 * which proxies would be up if every run had been planned so, no single plan can tell (that is what simulations are for).
 */
import type { Event, PlanSummary, Policy, Purpose } from '@backhaul/contracts';
import { counted } from './counted.ts';

export type ShadowPlan = Event<'ShadowPlanCalculated'>;

/** Any event that a plan's decision is told by. */
type Decided = Event<
  'ProxiesCalculated' | 'PlanRefused' | 'RecoveryProxiesCalculated' | 'RecoveryPlanRefused'
>;

/** Undefined for an event that decides nothing. */
export function summaryOf(event: Event): PlanSummary | undefined {
  switch (event.type) {
    case 'ProxiesCalculated':
    case 'RecoveryProxiesCalculated': {
      const { mode, modeReason, childJobs, proxies, waves } = event.data;
      return { mode, reason: modeReason, childJobs: childJobs.length, proxies, waves, refusal: null };
    }
    case 'PlanRefused':
    case 'RecoveryPlanRefused': {
      const { refusal } = event.data;
      return { mode: null, reason: refusal.message, childJobs: 0, proxies: 0, waves: 0, refusal };
    }
    default:
      return undefined;
  }
}

/** Undefined where nothing was decided. */
export function shadowPlanOf(
  live: Event,
  shadow: Event,
  policy: Policy,
  livePolicyId: string,
): ShadowPlan | undefined {
  const [liveSummary, shadowSummary] = [summaryOf(live), summaryOf(shadow)];
  if (liveSummary === undefined || shadowSummary === undefined) return undefined;
  const { hostId, vmId, ...data } = (live as Decided).data;
  const [runId, purpose]: [string, Purpose] =
    'recoveryId' in data ? [data.recoveryId, 'recovery'] : [data.backupId, 'backup'];
  return {
    type: 'ShadowPlanCalculated',
    data: {
      ...{ hostId, runId, vmId, purpose, policy, livePolicyId },
      live: liveSummary,
      shadow: shadowSummary,
    },
  };
}

/** In what a shadow comes to something else; empty where it does not. The reasons name policies, and so are no difference. */
export const differencesOf = (live: PlanSummary, shadow: PlanSummary): (keyof PlanSummary)[] =>
  (['mode', 'childJobs', 'proxies', 'waves'] as const).filter((field) => live[field] !== shadow[field]);

/** `direct-to-host, 3 child jobs, 0 proxies, 2 waves`. */
export function summaryLine(
  { mode, reason, childJobs, proxies, waves }: PlanSummary,
  purpose: Purpose,
): string {
  if (mode === null) return `refused: ${reason}`;
  const job = purpose === 'backup' ? 'child job' : 'data stream';
  return [mode, counted(childJobs, job), counted(proxies, 'proxy VM'), counted(waves, 'wave')].join(', ');
}

/** For `explain`: what it would have been. */
export function shadowLine({ data: { policy, purpose, live, shadow } }: ShadowPlan): string {
  const under = `Under policy ${policy.policyId} it would have been`;
  return differencesOf(live, shadow).length === 0
    ? `${under} the same: ${summaryLine(shadow, purpose)}.`
    : `${under}: ${summaryLine(shadow, purpose)}${shadow.mode === null ? '' : ` (${shadow.reason})`}.`;
}
