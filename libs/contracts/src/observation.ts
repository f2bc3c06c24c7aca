import type { HealthReading } from './proxy-events.ts';

/**
 * How a thing was seen. `alive`: it is there, and does what it is there for. `gone`: that is known not to be so. `silent`: it was asked and
 * did not answer, which a slow storage or a busy machine does as well: only looks that agree say more. `unknown`: it could
 * not be asked, which says nothing at all.
 */
export type Sighting = 'alive' | 'gone' | 'silent' | 'unknown';

/** What a host says is really there, to be held against what the events say. */
export interface Observation {
  /** The build of the appliance that a proxy would be booted from now; absent where there is none. */
  readonly appliance?: string;
  readonly proxies: readonly {
    readonly proxyId: string;
    readonly state: Sighting;
    /** Why not alive, as far as it can be told. */
    readonly detail: string;
    readonly attachments: readonly { readonly ownerId: string; readonly diskId: string }[];
    /** What was measured of it, as far as this kind of host can; empty of one that is not alive. */
    readonly readings: readonly HealthReading[];
  }[];
  readonly snapshots: readonly {
    readonly snapshotId: string;
    readonly vmId: string;
    readonly state: Sighting;
    readonly detail: string;
  }[];
  /** Disks that are to be a VM and are none yet. `alive`: they are served. */
  readonly targets: readonly {
    readonly targetId: string;
    readonly vmId: string;
    readonly state: Sighting;
    readonly detail: string;
  }[];
  /**
   * VMs that run from mounts. `copied`: nothing is left to read there, and `fillTarget` lets go of them; `stopped`: the VM has ended, or
   * its disks are not being filled, for the reason in `detail`; `unknown`: it could not be asked.
   */
  readonly fills: readonly {
    readonly targetId: string;
    readonly vmId: string;
    readonly state: 'filling' | 'copied' | 'stopped' | 'unknown';
    readonly filledBytes: number;
    readonly totalBytes: number;
    readonly detail: string;
  }[];
}
