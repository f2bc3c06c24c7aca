/**
 * Owned by proxy-manager. Stream `host-<hostId>`: the pool of one host. The stream is the consistency boundary for
 * proxies, snapshots and ports. What is asked of the host is recorded before it is done (`...Requested`), so that
 * after a crash the open requests are the list of what to look for.
 */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { Priority } from './priority.ts';
import { Port } from './proxy-events.ts';
import { namedByBackup, ofBackup, run } from './run-naming.ts';
import {
  BackupKind,
  Bytes,
  ChildJobId,
  DiskId,
  HostId,
  ImageIdentity,
  Instant,
  InstantRecovery,
  Machine,
  ProxyId,
  Purpose,
  Refusal,
  TransportMode,
  VmId,
} from './vocabulary.ts';

export const HostRegistered = defineEvent(
  'host',
  'HostRegistered',
  z.object({ hostId: HostId, kind: z.string(), address: z.string() }),
);

const order = {
  ...run,
  vmId: VmId,
  mode: TransportMode,
  proxies: z.int().nonnegative(),
  childJobs: z.array(z.object({ childJobId: ChildJobId, diskId: DiskId, offset: Bytes, length: Bytes })),
  portsPerChildJob: z.int().positive(),
  portsPerProxy: z.int().positive(),
  maxChildJobsPerProxy: z.int().positive(),
  maxDisksPerProxy: z.int().positive(),
  maxProxiesPerHost: z.int().nonnegative(),
  maxDirectStreams: z.int().positive(),
  maxAttemptsPerChildJob: z.int().positive(),
  proxyIdleSeconds: z.int().nonnegative(),
  proxyActivationSeconds: z.int().positive(),
  /** When the host was asked. */
  requestedAt: Instant,
  /** What decides who is served first (priority.ts): when the run was asked for. */
  priority: Priority,
  askedAt: Instant,
};

/**
 * A planned backup asks the host for its snapshot, its quantity of proxies and ports for its child jobs; a planned recovery asks for
 * empty disks of a VM to be, its second quantity of proxies, and ports for its data streams. Version 3: `instant`; 4: `priority`, `askedAt`.
 */
export const ActivationRequested = defineEvent(
  'host',
  'ActivationRequested',
  z.discriminatedUnion('purpose', [
    z.object({
      purpose: z.literal('backup'),
      ...order,
      disks: z.array(
        z.object({
          diskId: DiskId,
          kind: BackupKind,
          parentCheckpoint: z.string().nullable(),
          parentIdentity: ImageIdentity.nullable(),
        }),
      ),
    }),
    z.object({
      purpose: z.literal('recovery'),
      ...order,
      /** `bytesToWrite`: of `sizeBytes` those that are not zero. */
      disks: z.array(z.object({ diskId: DiskId, sizeBytes: Bytes, bytesToWrite: Bytes })),
      /** Over the VM of that name, which must be off. */
      replace: z.boolean(),
      /** The VM is started when it is whole. */
      start: z.boolean(),
      machine: Machine,
      /** It is started before, and its disks are filled from a mount while it runs. */
      instant: InstantRecovery.optional(),
    }),
  ]),
  [
    ofBackup,
    unchanged,
    // All stood in line as they came.
    (stored) => {
      const data = stored as { requestedAt: string };
      return { ...data, priority: 'normal', askedAt: data.requestedAt };
    },
  ],
);

/** Obligation opened: a proxy may be running from now on, and is paid for. Closed by ProxyDeactivated. Version 3: `requestedAt`. */
export const ProxyActivationRequested = defineEvent(
  'host',
  'ProxyActivationRequested',
  z.object({
    ...run,
    proxyId: ProxyId,
    ports: z.int().positive(),
    maxChildJobs: z.int().positive(),
    maxDisks: z.int().positive(),
    idleSeconds: z.int().nonnegative(),
    deadlineSeconds: z.int().positive(),
    reason: z.string(),
    requestedAt: Instant.optional(),
  }),
  [namedByBackup, unchanged],
);

/** The proxy died or never came up. Its ports and attachments are void; what they were for goes elsewhere. */
export const ProxyLost = defineEvent(
  'host',
  'ProxyLost',
  z.object({ hostId: HostId, proxyId: ProxyId, reason: z.string() }),
);

/**
 * Looked at after a child job had been interrupted on it: it is up, and may be given work again. (`ProxyLost` is the other
 * outcome of that look.)
 */
export const ProxyHealthObserved = defineEvent(
  'host',
  'ProxyHealthObserved',
  z.object({ hostId: HostId, proxyId: ProxyId, healthy: z.literal(true), detail: z.string() }),
);

/** It will be ended: nobody is given it any more. */
export const ProxyRetiring = defineEvent(
  'host',
  'ProxyRetiring',
  z.object({ hostId: HostId, proxyId: ProxyId, reason: z.string() }),
);

/**
 * What a proxy has cost its host. `upSeconds`: since it was asked for. `busyPortSeconds`: of each of its ports, how long it was held,
 * added up. `runs`: how many it held disks of.
 */
export const ProxyCost = z.object({
  upSeconds: z.number().nonnegative(),
  busyPortSeconds: z.number().nonnegative(),
  runs: z.int().nonnegative(),
});
export type ProxyCost = z.infer<typeof ProxyCost>;

/** Confirmed gone: no process, no socket, no attachment. Version 2: `cost`, absent where it is not known. */
export const ProxyDeactivated = defineEvent(
  'host',
  'ProxyDeactivated',
  z.object({ hostId: HostId, proxyId: ProxyId, reason: z.string(), cost: ProxyCost.optional() }),
  [unchanged],
);

/** No work left since `since`: it stays up for the next backup until its idle time is over. */
export const ProxyIdle = defineEvent(
  'host',
  'ProxyIdle',
  z.object({ hostId: HostId, proxyId: ProxyId, since: Instant }),
);

const attachment = { ...run, proxyId: ProxyId, diskId: DiskId };

/** Obligation opened: the disk may be attached to the proxy from now on. Closed by DiskDetached. */
export const DiskAttachRequested = defineEvent('host', 'DiskAttachRequested', z.object(attachment), [
  namedByBackup,
]);
/** `exportName` is how the disk is asked for at every port of the proxy. */
export const DiskAttached = defineEvent(
  'host',
  'DiskAttached',
  z.object({ ...attachment, exportName: z.string() }),
  [namedByBackup],
);
export const DiskDetached = defineEvent('host', 'DiskDetached', z.object(attachment), [namedByBackup]);

/** The host's own export of the frozen disks was opened for this run: direct-to-host mode's stand-in for proxies. */
export const DirectEndpointOpened = defineEvent(
  'host',
  'DirectEndpointOpened',
  z.object({ ...run, proxyId: ProxyId, ports: z.array(Port).min(1), exports: z.record(DiskId, z.string()) }),
  [namedByBackup],
);

/** Every proxy of the run is up, with its disks attached; child jobs can be given ports. */
export const ProxiesActivated = defineEvent(
  'host',
  'ProxiesActivated',
  z.object({
    ...run,
    purpose: Purpose,
    vmId: VmId,
    mode: TransportMode,
    asked: z.int().nonnegative(),
    proxies: z.array(
      z.object({ proxyId: ProxyId, ports: z.int().positive(), shared: z.boolean(), why: z.string() }),
    ),
    /** Why fewer than asked, when fewer: the run goes on in waves. */
    shortfall: z.string().nullable(),
  }),
  [ofBackup],
);

/** Its ports and proxies go to others, its hold on disks stays; nothing more of it begins until RunResumed. `number`: of BackupPaused, or of RecoveryPaused. */
export const RunPaused = defineEvent(
  'host',
  'RunPaused',
  z.object({ ...run, purpose: Purpose, number: z.int().positive() }),
);

/** The inverse of RunPaused: proxies are chosen anew, and what is not done yet goes on. */
export const RunResumed = defineEvent(
  'host',
  'RunResumed',
  z.object({ ...run, purpose: Purpose, number: z.int().positive() }),
);

/** The host cannot carry the run further: it ends in an explained failure. */
export const RunFailed = defineEvent(
  'host',
  'RunFailed',
  z.object({ ...run, purpose: Purpose, vmId: VmId, refusal: Refusal }),
  [ofBackup],
);

/** The run is over for the pool: what it took is given back from here on. */
export const RunEnding = defineEvent(
  'host',
  'RunEnding',
  z.object({ ...run, purpose: Purpose, outcome: z.enum(['completed', 'failed', 'cancelled']) }),
  [ofBackup],
);

/**
 * Everything the run had taken has been given back. Of a run that the host has not heard of yet (it was cancelled before): it took nothing,
 * and will take nothing. Version 3: `portSeconds`, its part of what proxies cost: of each port of a proxy that it held, how long, added
 * up. Absent where it is not known; 0 where it went without proxies.
 */
export const RunClosed = defineEvent(
  'host',
  'RunClosed',
  z.object({
    ...run,
    purpose: Purpose,
    outcome: z.enum(['completed', 'failed', 'cancelled']),
    portSeconds: z.number().nonnegative().optional(),
  }),
  [ofBackup, unchanged],
);

/** What the host says and what the events say differ, and what was done about it. */
export const DriftFound = defineEvent(
  'host',
  'DriftFound',
  z.object({ hostId: HostId, what: z.string(), expected: z.string(), found: z.string(), repair: z.string() }),
);
