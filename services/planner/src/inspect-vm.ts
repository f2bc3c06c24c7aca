/**
 * Asks the host about a VM, patiently: a fault that may mend is tried again some times, and one that does not mend ends as
 * a refusal that says everything that was seen. What is returned is always an answer that can be recorded.
 */
import { AssertionError } from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import type { Inspection } from '@backhaul/contracts';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { describeError, Fault, isPermanent, type Result, refuse } from '@backhaul/kernel';
import type { Triggered } from './core/planning.ts';

export interface Patience {
  readonly attempts: number;
  readonly firstDelayMilliseconds: number;
}

/** About six seconds in all, if every attempt fails at once. */
export const usualPatience: Patience = { attempts: 6, firstDelayMilliseconds: 200 };

/** Rejects only when the signal aborts (somebody else will ask), or when the program is wrong. */
export async function inspectVm(
  hostNamed: (hostId: string) => Promise<Pick<HypervisorHost, 'inspect'> | undefined>,
  { hostId, vmId, parent }: Triggered,
  signal: AbortSignal,
  onFault: (error: unknown, attempt: number) => void,
  patience: Patience = usualPatience,
): Promise<Result<Inspection>> {
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      const host = await hostNamed(hostId);
      if (host === undefined) return refuse(unknownHost(hostId));
      const answer = await host.inspect(vmId, parent);
      return answer.ok ? answer : refuse({ wayOut: MEND_AND_ASK_AGAIN, ...answer.refusal });
    } catch (error) {
      if (error instanceof AssertionError || signal.aborted) throw error;
      onFault(error, attempt);
      if (isPermanent(error)) return refuse(failed(hostId, vmId, error));
      if (attempt >= patience.attempts) return refuse(failed(hostId, vmId, error, attempt));
    }
    await pause(patience.firstDelayMilliseconds * 2 ** (attempt - 1), undefined, { signal });
  }
}

const MEND_AND_ASK_AGAIN = 'Mend what is named, then ask for the backup again under a new request id.';

const unknownHost = (hostId: string) => ({
  code: 'UnknownHost',
  message: `Host ${hostId} is not one of this deployment's.`,
  wayOut: 'Add it to BACKHAUL_HOSTS of the planner and the proxy-manager.',
});

function failed(hostId: string, vmId: string, error: unknown, attempts?: number) {
  const tries = attempts === undefined ? '' : ` ${attempts} times`;
  return {
    code: codeOf(error) ?? 'InspectionFailed',
    message: `Inspecting VM ${vmId} on host ${hostId} failed${tries}: ${describeError(error)}.`,
    wayOut: MEND_AND_ASK_AGAIN,
  };
}

/** The innermost code that is known: it names the cause and not what suffered from it. */
function codeOf(error: unknown): string | undefined {
  let code: string | undefined;
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof Fault && current.code !== undefined) code = current.code;
  }
  return code;
}
