/** What is done at the hypervisor. Each was announced by an event before, and is confirmed by one afterwards. */
import { attachmentKey, type Order } from './pool-state.ts';

export type Action =
  | { readonly type: 'TakeSnapshot'; readonly order: Order; readonly takenAt: string | null }
  | {
      readonly type: 'ReleaseSnapshot';
      readonly order: Order;
      readonly checkpoints: 'committed' | 'discarded';
    }
  | {
      readonly type: 'ActivateProxy';
      readonly proxyId: string;
      readonly backupId: string;
      readonly ports: number;
      readonly deadlineSeconds: number;
    }
  /** With what was attached to it: gone with the proxy, and confirmed with it. */
  | {
      readonly type: 'DeactivateProxy';
      readonly proxyId: string;
      readonly reason: string;
      readonly attachments: readonly { readonly backupId: string; readonly diskId: string }[];
    }
  | {
      readonly type: 'AttachDisk';
      readonly proxyId: string;
      readonly backupId: string;
      readonly diskId: string;
    }
  | {
      readonly type: 'DetachDisk';
      readonly proxyId: string;
      readonly backupId: string;
      readonly diskId: string;
    }
  | { readonly type: 'OpenDirectEndpoint'; readonly order: Order }
  /** Something at the host that no event knows of: it is removed, and only then reported. */
  | {
      readonly type: 'RemoveStray';
      readonly what: 'proxy' | 'snapshot';
      readonly id: string;
      readonly vmId: string;
    };

/** Names the thing an action works on: two actions on one thing never run at the same time. */
export function actionKey(action: Action): string {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'ReleaseSnapshot':
    case 'OpenDirectEndpoint':
      return `snapshot ${action.order.backupId}`;
    case 'RemoveStray':
      return `${action.what} ${action.id}`;
    case 'ActivateProxy':
    case 'DeactivateProxy':
      return `proxy ${action.proxyId}`;
    case 'AttachDisk':
    case 'DetachDisk':
      return `attachment ${action.proxyId} ${attachmentKey(action.backupId, action.diskId)}`;
  }
}
