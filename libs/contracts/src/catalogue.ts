/**
 * Every event there is, by type: the one place that knows which service owns which category, and the door through
 * which stored data comes back (checked, and lifted to the newest schema version).
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import * as backup from './backup-events.ts';
import * as deadLetter from './dead-letter-events.ts';
import * as exporting from './export-events.ts';
import * as disks from './host-disk-events.ts';
import * as host from './host-events.ts';
import * as leases from './host-lease-events.ts';
import * as hostPolicy from './host-policy.ts';
import * as mount from './mount-events.ts';
import * as plan from './plan-events.ts';
import * as proxy from './proxy-events.ts';
import * as recovery from './recovery-events.ts';
import * as recoveryPlan from './recovery-plan-events.ts';
import * as repository from './repository-events.ts';
import * as shadow from './shadow-plan-events.ts';
import * as transfer from './transfer-events.ts';
import * as vm from './vm-events.ts';
import * as warm from './warm-pool-events.ts';

export const catalogue = {
  BackupTriggered: backup.BackupTriggered,
  BackupQueued: backup.BackupQueued,
  BackupRefused: backup.BackupRefused,
  BackupCancelled: backup.BackupCancelled,
  BackupCancelOrdered: backup.BackupCancelOrdered,
  BackupPaused: backup.BackupPaused,
  BackupResumed: backup.BackupResumed,
  RecoveryTriggered: recovery.RecoveryTriggered,
  RecoveryQueued: recovery.RecoveryQueued,
  RecoveryRefused: recovery.RecoveryRefused,
  RecoveryCancelled: recovery.RecoveryCancelled,
  RecoveryCancelOrdered: recovery.RecoveryCancelOrdered,
  RecoveryPaused: recovery.RecoveryPaused,
  RecoveryResumed: recovery.RecoveryResumed,
  VmClaimed: vm.VmClaimed,
  VmAwaited: vm.VmAwaited,
  VmBackupEnded: vm.VmBackupEnded,
  VmRecoveryEnded: vm.VmRecoveryEnded,
  VmRunClosed: vm.VmRunClosed,
  VmReleased: vm.VmReleased,
  ScheduleDefined: backup.ScheduleDefined,
  ScheduleRemoved: backup.ScheduleRemoved,
  ScheduleFired: backup.ScheduleFired,
  ScheduleApproaching: backup.ScheduleApproaching,
  ScheduleSetBack: backup.ScheduleSetBack,
  PolicyDefined: backup.PolicyDefined,
  HostPolicyDefined: hostPolicy.HostPolicyDefined,
  DeploymentPolicyDefined: hostPolicy.DeploymentPolicyDefined,
  DeadLetterRedriven: deadLetter.DeadLetterRedriven,
  VmInspected: plan.VmInspected,
  ProxiesCalculated: plan.ProxiesCalculated,
  PlanRefused: plan.PlanRefused,
  RecoveryInspected: recoveryPlan.RecoveryInspected,
  RecoveryProxiesCalculated: recoveryPlan.RecoveryProxiesCalculated,
  RecoveryPlanRefused: recoveryPlan.RecoveryPlanRefused,
  ShadowPlanCalculated: shadow.ShadowPlanCalculated,
  HostRegistered: host.HostRegistered,
  HostPolicyAdopted: hostPolicy.HostPolicyAdopted,
  ActivationRequested: host.ActivationRequested,
  SnapshotRequested: disks.SnapshotRequested,
  SnapshotTaken: disks.SnapshotTaken,
  SnapshotLost: disks.SnapshotLost,
  SnapshotReleased: disks.SnapshotReleased,
  TargetRequested: disks.TargetRequested,
  TargetCreated: disks.TargetCreated,
  TargetLost: disks.TargetLost,
  TargetKept: disks.TargetKept,
  TargetDiscarded: disks.TargetDiscarded,
  FillProgressed: disks.FillProgressed,
  FillInterrupted: disks.FillInterrupted,
  TargetFilled: disks.TargetFilled,
  TargetLeft: disks.TargetLeft,
  ProxiesChosen: proxy.ProxiesChosen,
  ProxyActivationRequested: host.ProxyActivationRequested,
  ProxyActivated: proxy.ProxyActivated,
  ProxyLost: host.ProxyLost,
  ProxyHealthObserved: host.ProxyHealthObserved,
  ProxyHealthChanged: proxy.ProxyHealthChanged,
  ProxyThroughputObserved: proxy.ProxyThroughputObserved,
  ProxyRetiring: host.ProxyRetiring,
  ProxyDeactivated: host.ProxyDeactivated,
  ProxyIdle: host.ProxyIdle,
  ProxyDraining: warm.ProxyDraining,
  ApplianceObserved: warm.ApplianceObserved,
  ProxiesPrestarted: warm.ProxiesPrestarted,
  DiskAttachRequested: host.DiskAttachRequested,
  DiskAttached: host.DiskAttached,
  DiskDetached: host.DiskDetached,
  DirectEndpointOpened: host.DirectEndpointOpened,
  ProxiesActivated: host.ProxiesActivated,
  PortsLeased: leases.PortsLeased,
  PortsReleased: leases.PortsReleased,
  RunPaused: host.RunPaused,
  RunResumed: host.RunResumed,
  RunFailed: host.RunFailed,
  RunEnding: host.RunEnding,
  RunClosed: host.RunClosed,
  DriftFound: host.DriftFound,
  ChildJobStarted: transfer.ChildJobStarted,
  ChunkReceived: transfer.ChunkReceived,
  ChildJobCompleted: transfer.ChildJobCompleted,
  ChildJobInterrupted: transfer.ChildJobInterrupted,
  BackupCompleted: transfer.BackupCompleted,
  BackupFailed: transfer.BackupFailed,
  RepositoryAdopted: repository.RepositoryAdopted,
  ExportJobStarted: exporting.ExportJobStarted,
  ChunkExported: exporting.ChunkExported,
  ExportJobCompleted: exporting.ExportJobCompleted,
  ExportJobInterrupted: exporting.ExportJobInterrupted,
  MountRequested: mount.MountRequested,
  MountOpened: mount.MountOpened,
  MountReadFailed: mount.MountReadFailed,
  MountEnding: mount.MountEnding,
  MountClosed: mount.MountClosed,
  DataExported: exporting.DataExported,
  RecoveryCompleted: exporting.RecoveryCompleted,
  RecoveryFailed: exporting.RecoveryFailed,
} as const;

export type EventType = keyof typeof catalogue;
export type EventData<T extends EventType> = z.infer<(typeof catalogue)[T]['data']>;
/** A fact as the cores see it: what happened, without where and when it was recorded. */
export type Event<T extends EventType = EventType> = {
  [K in T]: { readonly type: K; readonly data: EventData<K> };
}[T];

export type Service = 'trigger' | 'planner' | 'proxy-manager' | 'ingest' | 'export' | 'console';
export type Category = (typeof catalogue)[EventType]['category'];

/** A category has exactly one owner, and only the owner's database role may append to it. */
export const owners = {
  backup: 'trigger',
  recovery: 'trigger',
  vm: 'trigger',
  schedule: 'trigger',
  policy: 'trigger',
  deadLetter: 'trigger',
  plan: 'planner',
  host: 'proxy-manager',
  childJob: 'ingest',
  transfer: 'ingest',
  repository: 'ingest',
  exportJob: 'export',
  mount: 'export',
  export: 'export',
} as const satisfies Record<Category, Service>;

/** Of these categories, for whoever reads them out of a log that is nearly all chunks: types are found by an index, categories are not. */
export const typesOf = (...categories: readonly Category[]): EventType[] =>
  (Object.keys(catalogue) as EventType[]).filter((type) => categories.includes(catalogue[type].category));

export type StreamName = `${Category}-${string}`;
export const streamName = <C extends Category>(category: C, id: string): `${C}-${string}` =>
  `${category}-${id}`;
export const vmStreamId = (hostId: string, vmId: string): string => `${hostId}.${vmId}`;
/** Which repository the backups of a deployment are in: one stream, for there is one. */
export const deploymentRepositoryStream: StreamName = streamName('repository', 'deployment');
/** The dot keeps these apart from the streams of the policies that people name. */
export const hostPolicyStream = (hostId: string): StreamName => streamName('policy', `host.${hostId}`);
export const deploymentPolicyStream: StreamName = streamName('policy', 'deployment.all');

/** The category of a stream name; a bug if it names none. */
export function categoryOf(stream: string): Category {
  const category = stream.slice(0, stream.indexOf('-'));
  if (!(category in owners)) throw new Fault(`Stream ${stream} is of no known category`, { permanent: true });
  return category as Category;
}

/**
 * Data as it was stored, lifted to the newest schema version and checked. Undefined for a type this release does not
 * know: it says nothing to us. Throws a permanent Fault when the data does not fit its schema, and one that can be tried again
 * (`NewerRelease`) for a newer version of a type that is known: to read it as an older one would be to lose what it says.
 */
export function readEvent(type: string, schemaVersion: number, stored: unknown): Event | undefined {
  if (!Object.hasOwn(catalogue, type)) return undefined;
  const definition = catalogue[type as EventType];
  if (schemaVersion > definition.schemaVersion) {
    throw new Fault(
      `A ${type} is of schema version ${schemaVersion}, and this release knows versions up to ${definition.schemaVersion}. ` +
        'A newer release has stored it: run that one here, too',
      { code: 'NewerRelease' },
    );
  }
  let data = stored;
  for (const upcast of definition.upcasters.slice(schemaVersion - 1)) data = upcast(data);
  const checked = definition.data.safeParse(data);
  if (!checked.success) {
    throw new Fault(
      `A stored ${type} (schema ${schemaVersion}) does not fit: ${z.prettifyError(checked.error)}`,
      {
        permanent: true,
      },
    );
  }
  return { type, data: checked.data } as Event;
}

/**
 * The same for data that our own log has kept: it was checked on its way in, and the log cannot be rewritten, so data of the newest
 * schema version is taken as it is (checking is most of what a replay costs). Only what is lifted from an older version is checked
 * again. So a schema never grows without a new version: see docs/adr/0007.
 */
export function readStoredEvent(type: string, schemaVersion: number, stored: unknown): Event | undefined {
  if (!Object.hasOwn(catalogue, type)) return undefined;
  if (schemaVersion !== catalogue[type as EventType].schemaVersion)
    return readEvent(type, schemaVersion, stored);
  return { type, data: stored } as Event;
}
