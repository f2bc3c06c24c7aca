/**
 * How many proxy VMs: from the child jobs, the child jobs that one proxy may run, and the ports it has; then limited by
 * what the host allows. Fewer than calculated is no failure: the child jobs then run in more waves. The second quantity,
 * of a recovery, is calculated from its data streams (second-quantity.ts) and limited here likewise.
 */
import type { Plan, Policy } from '@backhaul/contracts';
import { ok, type Result, refuse } from '@backhaul/kernel';

/** What runs on the proxies, in words, and the policy's name for the ports that each of it holds. */
export interface Work {
  readonly one: string;
  readonly ports: 'portsPerChildJob' | 'portsPerStream';
  readonly refusalCode: string;
}
export const READING: Work = {
  one: 'child job',
  ports: 'portsPerChildJob',
  refusalCode: 'NoChildJobFits',
};
export const WRITING: Work = {
  one: 'data stream',
  ports: 'portsPerStream',
  refusalCode: 'NoStreamFits',
};

/** Child jobs that one proxy VM can run at a time. A policy that allows none is refused, whatever mode is chosen. */
export function capacityPerProxy(policy: Policy, work: Work): Result<number> {
  const { maxChildJobsPerProxy, maxPortsPerProxy } = policy;
  const ports = policy[work.ports];
  const byPorts = ports === 0 ? 0 : Math.floor(maxPortsPerProxy / ports);
  const capacity = Math.min(maxChildJobsPerProxy, byPorts);
  if (capacity > 0) return ok(capacity);
  return refuse({
    code: work.refusalCode,
    message:
      `Policy ${policy.policyId} lets no ${work.one} run on a proxy VM: min(maxChildJobsPerProxy ${maxChildJobsPerProxy}, ` +
      `floor(maxPortsPerProxy ${maxPortsPerProxy} / ${work.ports} ${ports})) is 0.`,
    wayOut: wayOutOfNoCapacity(policy, work),
  });
}

function wayOutOfNoCapacity(policy: Policy, work: Work): string {
  const ports = policy[work.ports];
  const asks = [];
  if (policy.maxChildJobsPerProxy === 0) asks.push('maxChildJobsPerProxy to at least 1');
  if (ports === 0) asks.push(`${work.ports} to at least 1`);
  else if (policy.maxPortsPerProxy < ports) {
    const fewer =
      policy.maxPortsPerProxy === 0 ? '' : ` (or ${work.ports} to at most ${policy.maxPortsPerProxy})`;
    asks.push(`maxPortsPerProxy to at least ${ports}${fewer}`);
  }
  if (ports === 0 && policy.maxPortsPerProxy === 0) asks.push('maxPortsPerProxy to at least 1');
  return `Set ${asks.join(' and ')} in policy ${policy.policyId}.`;
}

export type Quantity = Pick<Plan, 'proxiesCalculated' | 'proxies' | 'expectedShared' | 'waves' | 'limitedBy'>;

/** What a quantity is limited with. */
export interface Load {
  readonly childJobs: number;
  readonly capacity: number;
  /** Proxies of the host that are up and have ports for a child job: the first are expected to be shared. */
  readonly activeProxies: number;
}

export function proxyQuantity(load: Load, policy: Policy): Quantity {
  const calculated = Math.ceil(load.childJobs / load.capacity);
  return withinLimits(calculated, limitByPorts(load.capacity, policy), load, policy, READING);
}

/** `limitedBy`: what has limited the calculation already. */
export function withinLimits(
  proxiesCalculated: number,
  limitedBy: Quantity['limitedBy'],
  { childJobs, capacity, activeProxies }: Load,
  { maxProxiesPerHost }: Policy,
  { one }: Work,
): Quantity {
  const limits = [...limitedBy];
  const useful = Math.min(proxiesCalculated, childJobs);
  if (useful < proxiesCalculated) {
    limits.push({
      limit: 'childJobs',
      value: childJobs,
      effect: `${useful} of the ${proxiesCalculated} proxy VMs calculated: there is no more than one ${one} for each`,
    });
  }
  const proxies = Math.min(useful, maxProxiesPerHost);
  const waves = Math.ceil(childJobs / (proxies * capacity));
  if (proxies < useful) {
    limits.push({
      limit: 'maxProxiesPerHost',
      value: maxProxiesPerHost,
      effect:
        `${proxies} of the ${proxiesCalculated} proxy VMs calculated: ${childJobs} ${one}s run in ` +
        (waves === 1 ? '1 wave all the same' : `${waves} waves instead of 1`),
    });
  }
  return {
    proxiesCalculated,
    proxies,
    expectedShared: Math.min(proxies, activeProxies),
    waves,
    limitedBy: limits,
  };
}

/** Direct-to-host needs no proxy: the host's own export serves so many streams at a time. */
export function directQuantity(childJobs: number, policy: Policy, { one }: Work): Quantity {
  const waves = Math.ceil(childJobs / policy.maxDirectStreams);
  const limitedBy: Quantity['limitedBy'] = [];
  if (waves > 1) {
    limitedBy.push({
      limit: 'maxDirectStreams',
      value: policy.maxDirectStreams,
      effect: `${childJobs} ${one}s run in ${waves} waves of at most ${policy.maxDirectStreams}`,
    });
  }
  return { proxiesCalculated: 0, proxies: 0, expectedShared: 0, waves, limitedBy };
}

function limitByPorts(capacity: number, policy: Policy): Quantity['limitedBy'] {
  if (capacity === policy.maxChildJobsPerProxy) return [];
  return [
    {
      limit: 'maxPortsPerProxy',
      value: policy.maxPortsPerProxy,
      effect: `a proxy VM runs ${capacity} child jobs at a time instead of ${policy.maxChildJobsPerProxy}: each holds ${policy.portsPerChildJob} of its ${policy.maxPortsPerProxy} ports`,
    },
  ];
}
