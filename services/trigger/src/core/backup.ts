/** What a request for a backup asks, and when two of them ask the same. */
import type { BackupRequested } from '@backhaul/contracts';
import type { AskedFor, Ground } from './run.ts';

/** Who sent it and by which way is no part of it: a retry may take another way. */
export const contentOfBackup = ({ host, vm, kind, mode, policy }: BackupRequested): string =>
  JSON.stringify({ host, vm, kind, mode, policy });

export const repeatsBackup = (
  { hostId: host, vmId: vm, kind, mode, policy }: AskedFor<'backup'>,
  request: BackupRequested,
): boolean => JSON.stringify({ host, vm, kind, mode, policy: policy.policyId }) === contentOfBackup(request);

export function askForBackup(
  { host: hostId, vm: vmId, kind, mode }: BackupRequested,
  { runId: backupId, policy, origin, requestedAt }: Ground,
): AskedFor<'backup'> {
  return { purpose: 'backup', backupId, hostId, vmId, kind, mode, policy, origin, requestedAt };
}
