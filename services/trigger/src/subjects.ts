/**
 * What the trigger's decisions are made on, as the log has it: a backup, the turn at its VM, and the policy it asks for.
 * Loaded together, and appended to together, at exactly the versions they were loaded at.
 */
import type { BackupRequested, Origin, Policy, Recorded, StreamName } from '@backhaul/contracts';
import {
  commandService,
  type EventStore,
  type EventTransaction,
  type Loaded,
  type StreamAppend,
} from '@backhaul/event-store';
import type { Result } from '@backhaul/kernel';
import { type Backup, backup, backupStream } from './core/backup.ts';
import { effectivePolicy, policy, policyStream } from './core/policy.ts';
import { backupIdOf, type Change, requestBackup } from './core/turns.ts';
import { type Vm, vm, vmStream } from './core/vm.ts';

/** Why something is done, for the metadata of its events. */
export interface Cause {
  /** The id of the request or event that led to it. */
  readonly causation: string;
  readonly actor: string;
  readonly traceparent?: string;
}

export const causeOf = ({ eventId, metadata }: Recorded): Cause => ({
  causation: eventId,
  actor: 'trigger',
  ...(metadata.traceparent === undefined ? {} : { traceparent: metadata.traceparent }),
});

export interface Subjects {
  readonly backupId: string;
  readonly vmStream: StreamName;
  readonly backup: Loaded<Backup>;
  readonly vm: Loaded<Vm>;
}

export type Desk = ReturnType<typeof deskOn>;

/** `hosts`: those of this deployment. `now`: the clock. */
export function deskOn(store: EventStore, hosts: ReadonlySet<string>, now: () => string) {
  const backups = commandService(store, backup);
  const vms = commandService(store, vm);
  const policies = commandService(store, policy);

  const policyNamed = async (policyId: string, transaction?: EventTransaction): Promise<Policy | undefined> =>
    effectivePolicy(policyId, (await policies.load(policyStream(policyId), transaction)).state);

  const load = async (
    backupId: string,
    hostId: string,
    vmId: string,
    transaction?: EventTransaction,
  ): Promise<Subjects> => ({
    backupId,
    vmStream: vmStream(hostId, vmId),
    backup: await backups.load(backupStream(backupId), transaction),
    vm: await vms.load(vmStream(hostId, vmId), transaction),
  });

  return {
    store,
    now,
    backups,
    vms,
    policies,
    load,

    async decideRequest(
      request: BackupRequested,
      origin: Origin,
      transaction?: EventTransaction,
    ): Promise<{ subjects: Subjects; decision: Result<Change> }> {
      const backupId = backupIdOf(request.requestId);
      const subjects = await load(backupId, request.host, request.vm, transaction);
      const decision = requestBackup(subjects.backup.state, subjects.vm.state, {
        backupId,
        request,
        origin,
        requestedAt: now(),
        hostKnown: hosts.has(request.host),
        policy: await policyNamed(request.policy, transaction),
      });
      return { subjects, decision };
    },
  };
}

/** The VM's stream first, as everybody reads it: the turn is given, and then the backup starts. */
export const appendsOf = (on: Subjects, change: Change): StreamAppend[] =>
  [
    { stream: on.vmStream, expected: on.vm.version, events: change.vm },
    { stream: backupStream(on.backupId), expected: on.backup.version, events: change.backup },
  ].filter(({ events }) => events.length > 0);
