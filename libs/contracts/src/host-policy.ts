/**
 * What an administrator allows one host to carry, whatever the policies of the runs ask for. Owned by trigger, as all policies are; the
 * proxy-manager adopts it into the host's own stream (`HostPolicyAdopted`), so that the pool folds it where it counts and a replay
 * sees since when it has.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { HostId, Instant } from './vocabulary.ts';

/** `null`: no limit. */
const limit = z.int().positive().nullable();

const hostFields = {
  /** Backups and recoveries that may be at work at the host at a time. */
  maxRuns: limit,
  /** Snapshots that may be open at a time, and targets: what holds disks at the host. Four per datastore is usual in the field. */
  maxOpenSnapshots: limit,
  /** Ports that the runs of one VM may hold at a time. */
  maxPortsPerVm: limit,
  /** Proxy VMs for everybody together. Beside `maxProxiesPerHost` of the run's own policy: the smaller counts. */
  maxProxies: limit,
  /** What all that is read from the host and written to it may come to. */
  bytesPerSecond: limit,
  /** How long a proxy without work stays up; `null`: as the policy of the run that started it says. */
  proxyIdleSeconds: z.int().nonnegative().nullable(),
  /** A proxy that has served so many runs, or was there for so long, is given no more, and is ended when it has finished. */
  recycleAfterRuns: limit,
  recycleAfterHours: limit,
  /** The same for one that was booted from another build of the appliance than the host has now. */
  recycleOldAppliance: z.boolean(),
  /** So long before a schedule comes due, the proxies that its VM was last given are started; `null`: never. */
  preStartMinutes: limit,
};
export const HostPolicy = z.object(hostFields);
export type HostPolicy = z.infer<typeof HostPolicy>;

/** As every host is before anybody defines anything. A field that comes later has here the value that changes nothing. */
export const noHostPolicy: HostPolicy = {
  maxRuns: null,
  maxOpenSnapshots: null,
  maxPortsPerVm: null,
  maxProxies: null,
  bytesPerSecond: null,
  proxyIdleSeconds: null,
  recycleAfterRuns: null,
  recycleAfterHours: null,
  recycleOldAppliance: false,
  preStartMinutes: null,
};

/** Upcaster of what holds a whole policy: fields that came later are as they are by default. */
const withNewerFields = (stored: unknown): unknown => {
  const data = stored as { policy: object };
  return { ...data, policy: { ...noHostPolicy, ...data.policy } };
};

const deploymentFields = { bytesPerSecond: limit };
/** What all hosts of the deployment may come to together. */
export const DeploymentPolicy = z.object(deploymentFields);
export type DeploymentPolicy = z.infer<typeof DeploymentPolicy>;

export const noDeploymentPolicy: DeploymentPolicy = { bytesPerSecond: null };

/** What a request names is changed, and the rest keeps its value: two who change two limits do not undo each other. */
export const HostPolicyChanges = z.strictObject(hostFields).partial();
export type HostPolicyChanges = z.infer<typeof HostPolicyChanges>;
export const DeploymentPolicyChanges = z.strictObject(deploymentFields).partial();
export type DeploymentPolicyChanges = z.infer<typeof DeploymentPolicyChanges>;

/** `revision` counts the definitions for this host: of two that arrive in the wrong order, the higher one counts. */
export const HostPolicyDefined = defineEvent(
  'policy',
  'HostPolicyDefined',
  z.object({ hostId: HostId, policy: HostPolicy, revision: z.int().positive(), definedAt: Instant }),
  [withNewerFields],
);

export const DeploymentPolicyDefined = defineEvent(
  'policy',
  'DeploymentPolicyDefined',
  z.object({ policy: DeploymentPolicy, definedAt: Instant }),
);

/** From here on the host's pool is decided under this policy. What runs goes on; only what is new is held back. */
export const HostPolicyAdopted = defineEvent(
  'host',
  'HostPolicyAdopted',
  z.object({ hostId: HostId, policy: HostPolicy, revision: z.int().positive() }),
  [withNewerFields],
);
