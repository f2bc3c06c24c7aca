/**
 * How many proxy VMs: from the child jobs, the child jobs that one proxy may run, and the ports it has; then limited by
 * what the host allows. Fewer than calculated is no failure: the child jobs then run in more waves.
 */
import type { Plan, Policy } from '@backhaul/contracts';
import { ok, type Result, refuse } from '@backhaul/kernel';

/** Child jobs that one proxy VM can run at a time. A policy that allows none is refused, whatever mode is chosen. */
export function capacityPerProxy(policy: Policy): Result<number> {
  const { maxChildJobsPerProxy, maxPortsPerProxy, portsPerChildJob } = policy;
  const byPorts = portsPerChildJob === 0 ? 0 : Math.floor(maxPortsPerProxy / portsPerChildJob);
  const capacity = Math.min(maxChildJobsPerProxy, byPorts);
  if (capacity > 0) return ok(capacity);
  return refuse({
    code: 'NoChildJobFits',
    message:
      `Policy ${policy.policyId} lets no child job run on a proxy VM: min(maxChildJobsPerProxy ${maxChildJobsPerProxy}, ` +
      `floor(maxPortsPerProxy ${maxPortsPerProxy} / portsPerChildJob ${portsPerChildJob})) is 0.`,
    wayOut: wayOutOfNoCapacity(policy),
  });
}

function wayOutOfNoCapacity(policy: Policy): string {
  const asks = [];
  if (policy.maxChildJobsPerProxy === 0) asks.push('maxChildJobsPerProxy to at least 1');
  if (policy.portsPerChildJob === 0) asks.push('portsPerChildJob to at least 1');
  else if (policy.maxPortsPerProxy < policy.portsPerChildJob) {
    asks.push(
      `maxPortsPerProxy to at least ${policy.portsPerChildJob} (or portsPerChildJob to at most ${policy.maxPortsPerProxy})`,
    );
  }
  if (policy.portsPerChildJob === 0 && policy.maxPortsPerProxy === 0)
    asks.push('maxPortsPerProxy to at least 1');
  return `Set ${asks.join(' and ')} in policy ${policy.policyId}.`;
}

export type Quantity = Pick<Plan, 'proxiesCalculated' | 'proxies' | 'expectedShared' | 'waves' | 'limitedBy'>;

/** `activeProxies`: those of the host that are up and have ports for a child job; the first are expected to be shared. */
export function proxyQuantity(
  childJobs: number,
  capacity: number,
  activeProxies: number,
  policy: Policy,
): Quantity {
  const proxiesCalculated = Math.ceil(childJobs / capacity);
  const proxies = Math.min(proxiesCalculated, policy.maxProxiesPerHost);
  const waves = Math.ceil(childJobs / (proxies * capacity));
  const limitedBy = limitByPorts(capacity, policy);
  if (proxies < proxiesCalculated) {
    limitedBy.push({
      limit: 'maxProxiesPerHost',
      value: policy.maxProxiesPerHost,
      effect: `${proxies} of the ${proxiesCalculated} proxy VMs calculated: ${childJobs} child jobs run in ${waves} waves instead of 1`,
    });
  }
  return { proxiesCalculated, proxies, expectedShared: Math.min(proxies, activeProxies), waves, limitedBy };
}

/** Direct-to-host needs no proxy: the host's own export serves so many streams at a time. */
export function directQuantity(childJobs: number, policy: Policy): Quantity {
  const waves = Math.ceil(childJobs / policy.maxDirectStreams);
  const limitedBy: Quantity['limitedBy'] = [];
  if (waves > 1) {
    limitedBy.push({
      limit: 'maxDirectStreams',
      value: policy.maxDirectStreams,
      effect: `${childJobs} child jobs run in ${waves} waves of at most ${policy.maxDirectStreams}`,
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
