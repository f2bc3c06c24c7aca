/** Where a qemu host keeps what it makes, and how patient it is. */
import type { VmFolder } from './vm-folder.ts';
import type { VmSnapshotStates } from './vm-snapshot-state.ts';

export interface VmSite {
  readonly hostId: string;
  readonly vms: VmFolder;
  readonly states: VmSnapshotStates;
  /** Where scratch files go. */
  readonly scratchFolder: string;
  /** How long a guest agent may take to answer at all. */
  readonly agentMilliseconds: number;
  /** How long it may take to freeze its file systems. */
  readonly freezeMilliseconds: number;
  /** How long a frozen disk may take to answer. */
  readonly answerMilliseconds: number;
}

export const nbdEndpointAt = (socketPath: string): string =>
  `nbd+unix:///?socket=${socketPath.split('/').map(encodeURIComponent).join('/')}`;
