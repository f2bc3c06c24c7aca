/** The host's part of a told backup: snapshot, proxies, attachments, and giving all of it back. */
import { vmStreamId } from '@backhaul/contracts';
import { type BackupStory, backupIdOf, type Facts, identity, restorePoint, startedProxies } from './facts.ts';
import { instantAt, type Teller, type Told, teller } from './teller.ts';

/** The proxy that a backup with `shared` finds running, from an earlier one. */
export function sharedProxyStory(hostId = 'lab'): Told[] {
  const tell = teller(backupIdOf('earlier'));
  tell.append('host', hostId, 'HostRegistered', { hostId, kind: 'directory', address: '/images' });
  startProxy(tell, hostId, backupIdOf('earlier'), `${hostId}-shared`);
  return tell.told;
}

/** Which earlier run it was started for. */
export const sharedProxies = (hostId: string): Record<string, string> => ({
  [`${hostId}-shared`]: backupIdOf('earlier'),
});

export function startProxy({ append }: Teller, hostId: string, runId: string, proxyId: string): void {
  append('host', hostId, 'ProxyActivationRequested', {
    hostId,
    runId,
    proxyId,
    ports: 1,
    maxChildJobs: 1,
    maxDisks: 13,
    idleSeconds: 60,
    deadlineSeconds: 120,
    reason: 'no active proxy has a free port',
  });
  append('host', hostId, 'ProxyActivated', {
    hostId,
    proxyId,
    ports: [{ port: 0, endpoint: `nbd+unix:///?socket=/run/${proxyId}-0.sock` }],
  });
}

export function activated(story: BackupStory, facts: Facts, tell: Teller): void {
  const { append } = tell;
  const { backupId, hostId, vmId, diskIds, jobs, diskBytes, proxyIds } = facts;
  const run = { hostId, runId: backupId };
  append('host', hostId, 'ActivationRequested', {
    purpose: 'backup',
    ...run,
    vmId,
    mode: 'proxy-vm',
    proxies: proxyIds.length,
    disks: diskIds.map((diskId) => ({
      diskId,
      kind: 'full' as const,
      parentCheckpoint: null,
      parentIdentity: null,
    })),
    childJobs: [...jobs],
    portsPerChildJob: 1,
    portsPerProxy: 1,
    maxChildJobsPerProxy: 1,
    maxDisksPerProxy: 13,
    maxProxiesPerHost: 8,
    maxDirectStreams: 2,
    maxAttemptsPerChildJob: 4,
    proxyIdleSeconds: 60,
    proxyActivationSeconds: 120,
    requestedAt: instantAt(2),
    ...{ priority: 'normal', askedAt: instantAt(0) },
  });
  append('host', hostId, 'SnapshotRequested', { ...run, vmId });
  append('host', hostId, 'SnapshotTaken', {
    ...run,
    vmId,
    takenAt: instantAt(3),
    pauseMilliseconds: 9,
    disks: diskIds.map((diskId, index) => ({
      diskId,
      sizeBytes: diskBytes,
      identity: identity(diskBytes),
      kind: 'full' as const,
      fallbackReason: story.fallback === true && index === 1 ? 'the bitmap is inconsistent' : null,
      endpoint: `nbd+unix:///${diskId}?socket=/run/snapshot.sock`,
      changedContext: null,
      checkpoint: backupId,
    })),
  });
  const why = (proxyId: string): string =>
    startedProxies(story, facts).includes(proxyId)
      ? 'no active proxy has a free port'
      : 'active, with a free port';
  const chosen = proxyIds.map((proxyId) => ({
    proxyId,
    shared: !startedProxies(story, facts).includes(proxyId),
    why: why(proxyId),
  }));
  append('host', hostId, 'ProxiesChosen', {
    ...run,
    asked: jobs.length,
    proxies: chosen,
    shortfall: 'the host allows 2',
    candidates: [],
    candidatesLeftOut: 0,
  });
  for (const proxyId of startedProxies(story, facts)) startProxy(tell, hostId, backupId, proxyId);
  for (const proxyId of proxyIds) {
    for (const diskId of diskIds) attach(tell, { ...run, proxyId, diskId });
  }
  append('host', hostId, 'ProxiesActivated', {
    ...run,
    purpose: 'backup',
    vmId,
    mode: 'proxy-vm',
    asked: jobs.length,
    proxies: chosen.map((proxy) => ({ ...proxy, ports: 1 })),
    shortfall: 'the host allows 2',
  });
}

export function attach(
  { append }: Teller,
  held: { hostId: string; runId: string; proxyId: string; diskId: string },
): void {
  append('host', held.hostId, 'DiskAttachRequested', held);
  append('host', held.hostId, 'DiskAttached', { ...held, exportName: `${held.runId}.${held.diskId}` });
}

export function givenBack(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId, diskIds, proxyIds } = facts;
  const run = { hostId, runId: backupId };
  append('vm', vmStreamId(hostId, vmId), 'VmReleased', {
    ...run,
    vmId,
    outcome: 'completed',
    restorePoint: restorePoint(facts),
  });
  append('host', hostId, 'RunEnding', { ...run, purpose: 'backup', outcome: 'completed' });
  const standing = story.interrupted === true ? proxyIds.slice(1) : proxyIds;
  for (const proxyId of standing) {
    for (const diskId of diskIds) append('host', hostId, 'DiskDetached', { ...run, proxyId, diskId });
  }
  append('host', hostId, 'SnapshotReleased', { ...run, vmId, checkpoints: 'committed' });
  append('host', hostId, 'RunClosed', { ...run, purpose: 'backup', outcome: 'completed' });
  for (const proxyId of startedProxies(story, facts).filter((id) => standing.includes(id))) {
    append('host', hostId, 'ProxyIdle', { hostId, proxyId, since: instantAt(62) });
    const cost = { upSeconds: 60.5, busyPortSeconds: 20.25, runs: 1 };
    append('host', hostId, 'ProxyDeactivated', { hostId, proxyId, reason: 'idle for 60 seconds', cost });
  }
}
