/** What a request for a backup asks, and when two of them ask the same. */
import type { BackupRequested, Priority } from '@backhaul/contracts';
import type { AskedFor, Ground } from './run.ts';

/** Who sent it and by which way is no part of it: a retry may take another way. */
export const contentOfBackup = ({ host, vm, kind, mode, policy, priority }: BackupRequested): string =>
  JSON.stringify({ host, vm, kind, mode, policy, priority });

export const repeatsBackup = (
  { hostId: host, vmId: vm, kind, mode, policy: { policyId }, priority }: AskedFor<'backup'>,
  request: BackupRequested,
): boolean =>
  JSON.stringify({ host, vm, kind, mode, policy: policyId, priority: asNamed(priority, request) }) ===
  contentOfBackup(request);

/** The policy may be another by now: a request that named no priority repeats itself whatever it was given. */
export const asNamed = (
  priority: Priority,
  request: { readonly priority?: Priority | undefined },
): Priority | undefined => (request.priority === undefined ? undefined : priority);

export function askForBackup(
  { host: hostId, vm: vmId, kind, mode, priority }: BackupRequested,
  { runId: backupId, policy, origin, requestedAt }: Ground,
): AskedFor<'backup'> {
  return {
    purpose: 'backup',
    ...{ backupId, hostId, vmId, kind, mode, policy },
    priority: priority ?? policy.backupPriority,
    ...{ origin, requestedAt },
  };
}
