/** What is done at the hypervisor. Each was announced by an event before, and is confirmed by one afterwards. */
import type { Mounts } from '@backhaul/contracts';
import type { Use } from './cost.ts';
import { attachmentKey, type BackupOrder, type Order, type RecoveryOrder } from './pool-state.ts';

export type Action =
  | { readonly type: 'TakeSnapshot'; readonly order: BackupOrder; readonly takenAt: string | null }
  | {
      readonly type: 'ReleaseSnapshot';
      readonly order: BackupOrder;
      readonly checkpoints: 'committed' | 'discarded';
    }
  /** `again`: the disks were made before, and are to be served again as they are. `mounts`: of an instant recovery. */
  | {
      readonly type: 'CreateTarget';
      readonly order: RecoveryOrder;
      readonly again: boolean;
      readonly mounts?: Mounts | undefined;
    }
  /** Makes the written disks the VM. */
  | { readonly type: 'KeepTarget'; readonly order: RecoveryOrder }
  | { readonly type: 'DiscardTarget'; readonly order: RecoveryOrder }
  /** Has the disks of a VM filled that runs from mounts: begins, goes on, or ends it. */
  | { readonly type: 'FillTarget'; readonly order: RecoveryOrder }
  /** Of a VM that cannot be filled, once it has ended. */
  | { readonly type: 'LeaveTarget'; readonly order: RecoveryOrder }
  | {
      readonly type: 'ActivateProxy';
      readonly proxyId: string;
      readonly runId: string;
      readonly ports: number;
      readonly deadlineSeconds: number;
    }
  /** With what was attached to it: gone with the proxy, and confirmed with it. */
  | {
      readonly type: 'DeactivateProxy';
      readonly proxyId: string;
      readonly reason: string;
      readonly attachments: readonly { readonly runId: string; readonly diskId: string }[];
      readonly use: Use;
    }
  | {
      readonly type: 'AttachDisk';
      readonly proxyId: string;
      readonly runId: string;
      readonly diskId: string;
      readonly access: 'read-only' | 'writable';
    }
  | {
      readonly type: 'DetachDisk';
      readonly proxyId: string;
      readonly runId: string;
      readonly diskId: string;
    }
  | { readonly type: 'OpenDirectEndpoint'; readonly order: Order }
  /** Something at the host that no event knows of: it is removed, and only then reported. */
  | {
      readonly type: 'RemoveStray';
      readonly what: 'proxy' | 'snapshot' | 'target';
      readonly id: string;
      readonly vmId: string;
    };

/** Names the thing an action works on: two actions on one thing never run at the same time. */
export function actionKey(action: Action): string {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'ReleaseSnapshot':
    case 'CreateTarget':
    case 'KeepTarget':
    case 'DiscardTarget':
    case 'FillTarget':
    case 'LeaveTarget':
    case 'OpenDirectEndpoint':
      return `disks ${action.order.runId}`;
    case 'RemoveStray':
      return `${action.what} ${action.id}`;
    case 'ActivateProxy':
    case 'DeactivateProxy':
      return `proxy ${action.proxyId}`;
    case 'AttachDisk':
    case 'DetachDisk':
      return `attachment ${action.proxyId} ${attachmentKey(action.runId, action.diskId)}`;
  }
}
