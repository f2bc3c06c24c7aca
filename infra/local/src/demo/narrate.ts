/** Tells a backup or a recovery as it happens: one line for each event that a person would want to see, with the time since its start. */
import type { Event } from '@backhaul/contracts';
import { formatBytes, refusalLine } from '@backhaul/kernel';

const nameOf = (proxyId: string): string =>
  proxyId.startsWith('direct-') ? "the host's own export" : `proxy ${proxyId}`;
const jobOf = (childJobId: string): string => childJobId.split('.').slice(1).join('.');

/** Undefined for events that would only be noise here. */
export function narrate(event: Event): string | undefined {
  switch (event.type) {
    case 'BackupTriggered':
      return `BackupTriggered     vm ${event.data.vmId} on host ${event.data.hostId}, asked over ${event.data.origin.via} by ${event.data.origin.requestedBy ?? 'nobody named'}`;
    case 'VmInspected':
      return `VmInspected         ${event.data.disks.map((disk) => `${disk.diskId} ${formatBytes(disk.sizeBytes)}, change tracking ${disk.tracking.state}${disk.tracking.state === 'unusable' ? ` (${disk.tracking.reason})` : ''}`).join('; ')}`;
    case 'ProxiesCalculated': {
      const {
        mode,
        modeReason,
        kind,
        arithmetic: a,
        proxiesCalculated,
        proxies,
        waves,
        limitedBy,
      } = event.data;
      return [
        `ProxiesCalculated   ${kind}, mode ${mode}: ${modeReason}`,
        `${a.childJobs} child jobs of at most ${formatBytes(a.childJobBytes)} for ${formatBytes(a.totalBytes)}; ${a.capacityPerProxy} jobs per proxy; ${proxiesCalculated} proxies calculated, ${proxies} used, ${waves} waves`,
        ...limitedBy.map(({ effect }) => effect),
      ].join('\n                              ');
    }
    case 'SnapshotTaken':
      return `SnapshotTaken       ${event.data.disks.map(({ diskId, kind }) => `${diskId} (${kind})`).join(', ')}, the guest stood still for ${event.data.pauseMilliseconds.toFixed(1)} ms${event.data.consistency === undefined ? '' : `; ${event.data.consistency.level}-consistent: ${event.data.consistency.reason}`}`;
    case 'ProxyActivationRequested':
      return `ProxyActivationRequested ${event.data.proxyId} with ${event.data.ports} ports`;
    case 'ProxyActivated':
      return `ProxyActivated      ${nameOf(event.data.proxyId)} with ${event.data.ports.length} ports`;
    case 'DiskAttached':
      return `DiskAttached        ${event.data.diskId} to ${nameOf(event.data.proxyId)}`;
    case 'ProxiesActivated':
      return `ProxiesActivated    ${event.data.mode === 'direct-to-host' ? 'none needed' : event.data.proxies.map(({ proxyId, shared }) => `${proxyId}${shared ? ' (shared)' : ''}`).join(', ')}${event.data.shortfall === null ? '' : `\n                              ${event.data.shortfall}`}`;
    case 'PortsLeased':
      return `PortsLeased         wave ${event.data.wave}: ${event.data.purpose === 'backup' ? 'child job' : 'data stream'} ${jobOf(event.data.childJobId)} holds port ${event.data.ports.map(({ port }) => port).join(', ')} of ${nameOf(event.data.proxyId)}`;
    case 'ChildJobCompleted':
      return `ChildJobCompleted   ${jobOf(event.data.childJobId)}: read ${formatBytes(event.data.readBytes)}, stored ${formatBytes(event.data.storedBytes)}, ${event.data.chunks} chunks (ChunkReceived each)`;
    case 'ChildJobInterrupted':
      return `ChildJobInterrupted ${jobOf(event.data.childJobId)}: ${event.data.reason}`;
    case 'ProxyLost':
      return `ProxyLost           ${event.data.proxyId}: ${event.data.reason}`;
    case 'BackupCompleted':
      return `BackupCompleted     read ${formatBytes(event.data.totals.readBytes)}, stored ${formatBytes(event.data.totals.storedBytes)}, ${event.data.totals.newChunks} new of ${event.data.totals.chunks} chunks`;
    case 'RecoveryTriggered':
      return `RecoveryTriggered   vm ${event.data.vmId} on host ${event.data.hostId}, of the restore point of ${event.data.restorePoint.takenAt}`;
    case 'RecoveryProxiesCalculated': {
      const { mode, modeReason, arithmetic: a, proxiesCalculated, proxies, limitedBy } = event.data;
      return [
        `RecoveryProxiesCalculated mode ${mode}: ${modeReason}`,
        `${a.disks} disks, at most ${a.maxStreamsPerDisk} data streams each; ${a.capacityPerProxy} streams per proxy; ${proxiesCalculated} proxies calculated (the second quantity), ${proxies} used`,
        ...limitedBy.map(({ effect }) => effect),
      ].join('\n                              ');
    }
    case 'TargetCreated':
      return `TargetCreated       empty disks ${event.data.disks.map(({ diskId }) => diskId).join(', ')}, which no VM has yet`;
    case 'ExportJobCompleted':
      return `ExportJobCompleted  ${jobOf(event.data.childJobId)}: written ${formatBytes(event.data.writtenBytes)}, ${formatBytes(event.data.zeroBytes)} left as holes, ${formatBytes(event.data.verifiedBytes)} read back and compared`;
    case 'ExportJobInterrupted':
      return `ExportJobInterrupted ${jobOf(event.data.childJobId)}: ${event.data.reason}`;
    case 'TargetKept':
      return `TargetKept          the disks are vm ${event.data.vmId} now`;
    case 'TargetDiscarded':
      return 'TargetDiscarded     nothing is left of the VM that was to be';
    case 'RecoveryCompleted':
      return `RecoveryCompleted   written ${formatBytes(event.data.totals.writtenBytes)} in ${event.data.totals.chunks} chunks (ChunkExported each)`;
    case 'BackupFailed':
    case 'PlanRefused':
    case 'RecoveryFailed':
    case 'RecoveryPlanRefused':
    case 'RunFailed':
      return `${event.type.padEnd(19)} ${refusalLine(event.data.refusal)}`;
    case 'SnapshotReleased':
      return `SnapshotReleased    checkpoints ${event.data.checkpoints}`;
    case 'RunClosed':
      return 'RunClosed           everything was given back';
    default:
      return undefined;
  }
}
