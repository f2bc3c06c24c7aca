/**
 * Which way the data travels. What is wanted comes from the request, else from the policy, else from the amount of data;
 * what is possible comes from the host and the policy. Where the two differ, the policy says whether the other mode will
 * do, and the plan says what happened: never a silent fallback.
 */
import type { HostId, Inspection, Policy, TransportMode, VmId } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { Amount } from './threshold-share.ts';

/** What the host says of the VM that is backed up, or of the one that is to be. */
export interface HostAnswer {
  readonly hostId: HostId;
  readonly vmId: VmId;
  readonly modes: Inspection['modes'];
}

export interface Choice {
  readonly mode: TransportMode;
  readonly modeReason: string;
  readonly rejected: { what: string; why: string }[];
}

interface Wanted {
  readonly mode: TransportMode;
  readonly because: string;
}

export function chooseMode(
  answer: HostAnswer,
  amount: Amount,
  requested: 'auto' | TransportMode,
  policy: Policy,
): Result<Choice> {
  const wanted = wantedMode(amount, requested, policy);
  const other: Wanted['mode'] = wanted.mode === 'proxy-vm' ? 'direct-to-host' : 'proxy-vm';
  const inTheWay = whyUnavailable(wanted.mode, answer, policy);
  if (inTheWay === undefined) {
    return ok({
      mode: wanted.mode,
      modeReason: wanted.because,
      rejected: [{ what: `mode ${other}`, why: wanted.because }],
    });
  }
  const otherInTheWay = whyUnavailable(other, answer, policy);
  if (policy.whenModeUnavailable === 'refuse' || otherInTheWay !== undefined) {
    return refuse(modeUnavailable(answer, policy, wanted, inTheWay, otherInTheWay));
  }
  return ok({
    mode: other,
    modeReason: `${wanted.mode} was chosen (${wanted.because}) but is not available: ${inTheWay}`,
    rejected: [{ what: `mode ${wanted.mode}`, why: inTheWay }],
  });
}

/** What would be used if every mode were there. */
function wantedMode(amount: Amount, requested: 'auto' | TransportMode, policy: Policy): Wanted {
  if (requested !== 'auto') return { mode: requested, because: 'forced by the request' };
  if (policy.mode !== 'auto') return { mode: policy.mode, because: `forced by policy ${policy.policyId}` };
  return {
    mode: amount.share >= 1 ? 'proxy-vm' : 'direct-to-host',
    because: amount.description,
  };
}

/** Undefined when the mode can be used. */
function whyUnavailable(mode: TransportMode, answer: HostAnswer, policy: Policy): string | undefined {
  const said = answer.modes[mode];
  if (!said.available) return said.reason ?? `host ${answer.hostId} does not offer it`;
  if (mode === 'proxy-vm' && policy.maxProxiesPerHost === 0) {
    return `policy ${policy.policyId} lets no proxy VM run (maxProxiesPerHost is 0)`;
  }
  return undefined;
}

function modeUnavailable(
  answer: HostAnswer,
  policy: Policy,
  wanted: Wanted,
  inTheWay: string,
  otherInTheWay: string | undefined,
): Refusal {
  const other = wanted.mode === 'proxy-vm' ? 'direct-to-host' : 'proxy-vm';
  const message = `Mode ${wanted.mode} (${wanted.because}) is not available for VM ${answer.vmId}: ${inTheWay}.`;
  if (otherInTheWay === undefined) {
    return {
      code: 'ModeUnavailable',
      message,
      wayOut: `Ask for mode ${other}, or set whenModeUnavailable of policy ${policy.policyId} to "use-other".`,
    };
  }
  return {
    code: 'ModeUnavailable',
    message: `${message} ${other} is not available either: ${otherInTheWay}.`,
    wayOut: 'Make one of the two modes available, then ask again.',
  };
}
