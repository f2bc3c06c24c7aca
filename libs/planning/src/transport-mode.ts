/**
 * Which way the data travels. What is wanted comes from the request, else from the policy, else from the amount of data;
 * what is possible comes from the host and the policy. Where the two differ, the policy says whether the other mode will
 * do, and the plan says what happened: never a silent fallback.
 */
import type { Inspection, Policy, TransportMode } from '@backhaul/contracts';
import { formatBytes, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { DiskToRead } from './disk-kind.ts';
import { bytesToRead, thresholdOf, thresholdShare } from './threshold-share.ts';

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
  inspection: Inspection,
  disks: readonly DiskToRead[],
  requested: 'auto' | TransportMode,
  policy: Policy,
): Result<Choice> {
  const wanted = wantedMode(disks, requested, policy);
  const other: Wanted['mode'] = wanted.mode === 'proxy-vm' ? 'direct-to-host' : 'proxy-vm';
  const inTheWay = whyUnavailable(wanted.mode, inspection, policy);
  if (inTheWay === undefined) {
    return ok({
      mode: wanted.mode,
      modeReason: wanted.because,
      rejected: [{ what: `mode ${other}`, why: wanted.because }],
    });
  }
  const otherInTheWay = whyUnavailable(other, inspection, policy);
  if (policy.whenModeUnavailable === 'refuse' || otherInTheWay !== undefined) {
    return refuse(modeUnavailable(inspection, policy, wanted, inTheWay, otherInTheWay));
  }
  return ok({
    mode: other,
    modeReason: `${wanted.mode} was chosen (${wanted.because}) but is not available: ${inTheWay}`,
    rejected: [{ what: `mode ${wanted.mode}`, why: inTheWay }],
  });
}

/** What would be used if every mode were there. */
function wantedMode(disks: readonly DiskToRead[], requested: 'auto' | TransportMode, policy: Policy): Wanted {
  if (requested !== 'auto') return { mode: requested, because: 'forced by the request' };
  if (policy.mode !== 'auto') return { mode: policy.mode, because: `forced by policy ${policy.policyId}` };
  return {
    mode: thresholdShare(disks, policy) >= 1 ? 'proxy-vm' : 'direct-to-host',
    because: describeAmount(disks, policy),
  };
}

/** Undefined when the mode can be used. */
function whyUnavailable(mode: TransportMode, inspection: Inspection, policy: Policy): string | undefined {
  const said = inspection.modes[mode];
  if (!said.available) return said.reason ?? `host ${inspection.hostId} does not offer it`;
  if (mode === 'proxy-vm' && policy.maxProxiesPerHost === 0) {
    return `policy ${policy.policyId} lets no proxy VM run (maxProxiesPerHost is 0)`;
  }
  return undefined;
}

function describeAmount(disks: readonly DiskToRead[], policy: Policy): string {
  const amounts = (['full', 'incremental'] as const).flatMap((kind) => {
    const ofKind = disks.filter((disk) => disk.kind === kind);
    if (ofKind.length === 0) return [];
    return [
      `${formatBytes(bytesToRead(ofKind))} ${kind} against a threshold of ${formatBytes(thresholdOf(kind, policy))}`,
    ];
  });
  const share = thresholdShare(disks, policy);
  const place = share >= 1 ? 'at or above' : 'below';
  return `${amounts.join(' and ')}: ${place} it, at ${percent(share)}`;
}

/** Rounded away from the threshold's side, so that 99.99 % never reads as 100 %. */
const percent = (share: number): string =>
  `${(share >= 1 ? Math.ceil(share * 1000) : Math.floor(share * 1000)) / 10} %`;

function modeUnavailable(
  inspection: Inspection,
  policy: Policy,
  wanted: Wanted,
  inTheWay: string,
  otherInTheWay: string | undefined,
): Refusal {
  const other = wanted.mode === 'proxy-vm' ? 'direct-to-host' : 'proxy-vm';
  const message = `Mode ${wanted.mode} (${wanted.because}) is not available for VM ${inspection.vmId}: ${inTheWay}.`;
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
