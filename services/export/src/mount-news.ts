/** When a restore point is to be served, and until when: from the activation of an instant recovery until its run has given all back. */
import type { Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { decideMount, ending, requested } from './mount.ts';
import { causedBy, loadRecovery, planIfAny, planOf } from './recovery.ts';

interface Parts {
  readonly store: EventStore;
  /** Something about this recovery has changed. */
  wake(recoveryId: string): void;
}

export async function mountOnActivation(
  { store, wake }: Parts,
  cause: Recorded<'ActivationRequested'>,
): Promise<void> {
  if (cause.data.purpose !== 'recovery' || cause.data.instant === undefined) return;
  const { runId: recoveryId, hostId, vmId, disks } = cause.data;
  if ((await loadRecovery(store, recoveryId)).recovery.ended) return;
  const { backupId, manifestDigest } = await planOf(store, recoveryId);
  const order = { ...{ recoveryId, hostId, vmId, backupId, manifestDigest }, disks: disks.map(idOf) };
  const command = { commandId: `mount ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideMount(store, recoveryId, command, (mount) => requested(mount, order));
  wake(recoveryId);
}

const idOf = ({ diskId }: { readonly diskId: string }): string => diskId;

export async function unmountOnClose({ store, wake }: Parts, cause: Recorded<'RunClosed'>): Promise<void> {
  const { runId: recoveryId, purpose, hostId } = cause.data;
  if (purpose !== 'recovery') return;
  const plan = await planIfAny(store, recoveryId);
  // One that was cancelled before it was planned has no mount, and never will.
  if (plan?.instant === undefined) return;
  const { vmId } = plan;
  const command = { commandId: `unmount ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideMount(store, recoveryId, command, (mount) => ending(mount, { recoveryId, hostId, vmId }));
  wake(recoveryId);
}
