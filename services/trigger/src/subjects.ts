/**
 * What the trigger's decisions are made on, as the log has it: a backup or a recovery, the turn at its VM, the policy it asks for, and
 * the restore point that is to be recovered. Loaded together, and appended to together, at exactly the versions they were loaded at.
 */
import { type Origin, type Policy, type Recorded, type StreamName, streamName } from '@backhaul/contracts';
import {
  commandService,
  type EventStore,
  type EventTransaction,
  type Loaded,
  type StreamAppend,
} from '@backhaul/event-store';
import type { Result } from '@backhaul/kernel';
import { deploymentLimits, hostLimits } from './core/limits.ts';
import { effectivePolicy, policy, policyStream } from './core/policy.ts';
import { type Recoverable, recoverable } from './core/recoverable.ts';
import { type Run, type RunName, run, runStream } from './core/run.ts';
import { type Change, requestRun } from './core/turns.ts';
import { type Vm, vm, vmStream } from './core/vm.ts';
import { type RequestRun, runNameOf, type Wish } from './core/wish.ts';

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

/**
 * VMs and schedules have streams that grow for years (a third of a second to read), and states of a kilobyte: more than a deployment has of
 * either that are busy in one night.
 */
export const LONG_STREAMS_CACHED = 10_000;

export interface Subjects {
  readonly runStream: StreamName;
  readonly vmStream: StreamName;
  readonly run: Loaded<Run>;
  readonly vm: Loaded<Vm>;
}

export type Desk = ReturnType<typeof deskOn>;

/** `hosts`: those of this deployment. `now`: the clock. */
export function deskOn(store: EventStore, hosts: ReadonlySet<string>, now: () => string) {
  const runs = commandService(store, run);
  const vms = commandService(store, vm, { cachedStreams: LONG_STREAMS_CACHED });
  const policies = commandService(store, policy);
  const ofHosts = commandService(store, hostLimits);
  const ofDeployment = commandService(store, deploymentLimits);

  const policyNamed = async (policyId: string, transaction?: EventTransaction): Promise<Policy | undefined> =>
    effectivePolicy(policyId, (await policies.load(policyStream(policyId), transaction)).state);

  const load = async (
    { purpose, runId }: RunName,
    hostId: string,
    vmId: string,
    transaction?: EventTransaction,
  ): Promise<Subjects> => {
    const [ofRun, ofVm] = [runStream(purpose, runId), vmStream(hostId, vmId)];
    return {
      runStream: ofRun,
      vmStream: ofVm,
      run: await runs.load(ofRun, transaction),
      vm: await vms.load(ofVm, transaction),
    };
  };

  /** The streams of other services are read as they stand: how a backup ended never changes. */
  const recoverableFrom = async (
    backupId: string,
    transaction?: EventTransaction,
  ): Promise<Result<Recoverable>> => {
    const reader = transaction ?? store;
    const ended = await reader.readStreamPage(streamName('transfer', backupId));
    // A plan is long, and only one that was refused says how its backup ended.
    const planned =
      ended.events.length > 0 ? ended : await reader.readStreamPage(streamName('plan', backupId));
    const { state } = await runs.load(runStream('backup', backupId), transaction);
    return recoverable(backupId, state, planned.events);
  };

  return {
    store,
    now,
    runs,
    vms,
    policies,
    limits: { ofHosts, ofDeployment },
    knowsHost: (hostId: string): boolean => hosts.has(hostId),

    async decideRequest(
      wish: Wish,
      origin: Origin,
      transaction?: EventTransaction,
    ): Promise<{ subjects: Subjects; decision: Result<Change> }> {
      const { host, vm: vmId, policy: policyId } = wish.request;
      const circumstances = {
        origin,
        requestedAt: now(),
        hostKnown: hosts.has(host),
        policy: await policyNamed(policyId, transaction),
      };
      const wanted: RequestRun =
        wish.purpose === 'backup'
          ? { ...circumstances, ...wish }
          : {
              ...circumstances,
              ...wish,
              recoverable: await recoverableFrom(wish.request.backup, transaction),
            };
      const subjects = await load(runNameOf(wish), host, vmId, transaction);
      return { subjects, decision: requestRun(subjects.run.state, subjects.vm.state, wanted) };
    },
  };
}

/** The VM's stream first, as everybody reads it: the turn is given, and then what has it starts. */
export const appendsOf = (on: Subjects, change: Change): StreamAppend[] =>
  [
    { stream: on.vmStream, expected: on.vm.version, events: change.vm },
    { stream: on.runStream, expected: on.run.version, events: change.run },
  ].filter(({ events }) => events.length > 0);
