/** How often an action is tried, and what it means for the pool that it cannot be done. Pure. */
import { describeError, hasCode } from '@backhaul/kernel';
import type { Action } from './actions.ts';
import { confirmsSomething } from './confirmation.ts';
import { attachmentKey, failureOf, type HostEvent, type Pool } from './pool-state.ts';

/**
 * How often an action is tried before `givenUp` speaks. What must be given back is tried for ever, but for a disk that its proxy does not
 * let go of: that goes with the proxy.
 */
export function triesOf(action: Action): number {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'CreateTarget':
    case 'OpenDirectEndpoint':
      return 5;
    case 'AttachDisk':
      return 3;
    // A guest that is stuck takes half a minute each time.
    case 'DetachDisk':
      return 6;
    case 'ActivateProxy':
      return 1;
    // About two minutes: an operator may make room meanwhile. After that the disks are discarded, and the recovery ends.
    case 'KeepTarget':
      return 12;
    // Then it is an interruption, and begins anew: how many of those there may be, the run says (instant-steps.ts).
    case 'FillTarget':
      return 3;
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/**
 * Whether a failure counts against those tries. Disks that do not answer now (slow storage, a busy monitor) may do so in a moment: how long
 * that may last is decided where they are looked at (drift.ts), and then nobody wants the action any more.
 */
export const countsAsTry = (error: unknown): boolean => !hasCode(error, 'DisksSilent');

/** The disks' trouble, not the proxy's: other runs on the proxy go on. */
const isOfTheDisks = (error: unknown): boolean =>
  hasCode(
    error,
    'SnapshotLost',
    'SnapshotUnknown',
    'TargetLost',
    'TargetUnknown',
    'DiskUnknown',
    'ImageInUse',
  );

const GIVEN_UP_CODES = {
  TakeSnapshot: 'SnapshotFailed',
  CreateTarget: 'TargetFailed',
  OpenDirectEndpoint: 'DirectEndpointFailed',
} as const;

/** What it means for the pool that an action cannot be done. */
export function givenUp(pool: Pool, action: Action, error: unknown): HostEvent[] {
  const { hostId } = pool;
  const reason = describeError(error);
  switch (action.type) {
    case 'TakeSnapshot':
    case 'CreateTarget':
    case 'OpenDirectEndpoint': {
      const run = pool.runs.get(action.order.runId);
      if (run === undefined || run.outcome !== undefined) return [];
      const code = GIVEN_UP_CODES[action.type];
      const wayOut = `Mend the cause named, then start the ${run.order.purpose} again.`;
      return [
        failureOf(run.order, {
          code,
          message: `Vm ${action.order.vmId} on host ${hostId}: ${reason}`,
          wayOut,
        }),
      ];
    }
    case 'KeepTarget': {
      const refusal = {
        code: 'TargetNotKept',
        message: `The disks of vm ${action.order.vmId} on host ${hostId} are written, but could not be made a VM: ${reason}`,
        wayOut: 'Mend the cause named, then start the recovery again.',
      };
      const failed = failureOf(action.order, refusal);
      return confirmsSomething(pool, failed) ? [failed] : [];
    }
    case 'FillTarget': {
      const { runId } = action.order;
      const interrupted: HostEvent = { type: 'FillInterrupted', data: { hostId, runId, reason } };
      return confirmsSomething(pool, interrupted) ? [interrupted] : [];
    }
    case 'ActivateProxy':
      return [
        {
          type: 'ProxyLost',
          data: { hostId, proxyId: action.proxyId, reason: `it did not come up: ${reason}` },
        },
      ];
    case 'AttachDisk': {
      const run = pool.runs.get(action.runId);
      if (isOfTheDisks(error)) {
        if (run === undefined || run.outcome !== undefined) return [];
        const message = `Disk ${action.diskId} of vm ${run.order.vmId} on host ${hostId}: ${reason}`;
        const code = run.order.purpose === 'backup' ? 'SnapshotLost' : 'TargetLost';
        return [failureOf(run.order, { code, message, wayOut: `Start the ${run.order.purpose} again.` })];
      }
      const lost = `disk ${action.diskId} of run ${action.runId} could not be attached: ${reason}`;
      return [{ type: 'ProxyLost', data: { hostId, proxyId: action.proxyId, reason: lost } }];
    }
    case 'DetachDisk': {
      const { proxyId, runId, diskId } = action;
      const proxy = pool.proxies.get(proxyId);
      if (proxy?.state !== 'active' || !proxy.attachments.has(attachmentKey(runId, diskId))) return [];
      // Its deactivation confirms that the disk is held no more.
      const lost = `it does not let go of disk ${diskId} of run ${runId}: ${reason}`;
      return [{ type: 'ProxyLost', data: { hostId, proxyId, reason: lost } }];
    }
    default:
      return [];
  }
}
