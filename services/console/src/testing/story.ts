/**
 * Stories for tests: the events of whole backups in the order in which the services append them, fabricated from a few
 * numbers. Nothing random, no clock: the same numbers give the same story.
 */
import { CHUNK_BYTES, defaultPolicy, noHostPolicy, vmStreamId } from '@backhaul/contracts';
import { type BackupStory, backupIdOf, type Facts, factsOf, identity } from './facts.ts';
import { activated, givenBack, sharedProxies, sharedProxyStory } from './story-of-host.ts';
import { recoveryStory } from './story-of-recovery.ts';
import { transferred } from './story-of-transfer.ts';
import { instantAt, recorded, type Teller, type Told, teller } from './teller.ts';

export { backupIdOf, recorded, recoveryStory, sharedProxyStory, type Told, teller };

/** From the request to the last thing given back. */
export function backupStory(story: BackupStory): Told[] {
  const facts = factsOf(story);
  const tell = teller(facts.backupId, sharedProxies(facts.hostId));
  requested(story, facts, tell);
  planned(story, facts, tell);
  activated(story, facts, tell);
  transferred(story, facts, tell);
  givenBack(story, facts, tell);
  return tell.told;
}

/** Of a dead letter that somebody has sent again. */
export function redriveStory(deadLetterId: string): Told[] {
  const messageId = backupIdOf(`message of letter ${deadLetterId}`);
  const tell = teller(backupIdOf('b2'));
  tell.append('deadLetter', messageId, 'DeadLetterRedriven', {
    deadLetterId,
    consumer: 'ingest__run',
    subject: 'evt.proxy-manager.host.lab.PortsLeased',
    messageId,
    eventId: messageId,
    failure: 'no such chunk',
    requestId: `redrive-${deadLetterId}`,
    reason: 'the chunk is there now',
    requestedBy: 'ops',
    redrivenAt: instantAt(9),
  });
  return tell.told;
}

/** A host's limits, changed twice, of which the host has taken up the first; and the deployment's. */
export function limitsStory(hostId = 'lab'): Told[] {
  const tell = teller('limits');
  const limits = (maxOpenSnapshots: number) => ({ hostId, policy: { ...noHostPolicy, maxOpenSnapshots } });
  tell.append('policy', `host.${hostId}`, 'HostPolicyDefined', {
    ...limits(4),
    revision: 1,
    definedAt: instantAt(1),
  });
  tell.append('host', hostId, 'HostPolicyAdopted', { ...limits(4), revision: 1 });
  tell.append('policy', `host.${hostId}`, 'HostPolicyDefined', {
    ...limits(2),
    revision: 2,
    definedAt: instantAt(2),
  });
  tell.append('policy', 'deployment.all', 'DeploymentPolicyDefined', {
    policy: { bytesPerSecond: 1024 ** 3 },
    definedAt: instantAt(3),
  });
  return tell.told;
}

/** A policy that is planned with beside the one of a backup: once it comes to the same, once to something else. */
export function shadowStory(): Told[] {
  const tell = teller('shadows');
  const live = {
    mode: 'proxy-vm' as const,
    reason: 'above the threshold',
    childJobs: 4,
    proxies: 2,
    waves: 1,
    refusal: null,
  };
  for (const [name, shadow] of [
    ['s1', live],
    ['s2', { ...live, mode: 'direct-to-host' as const, proxies: 0, waves: 2 }],
  ] as const) {
    const runId = backupIdOf(name);
    tell.append('plan', runId, 'ShadowPlanCalculated', {
      ...{ hostId: 'lab', runId, vmId: 'web-1', purpose: 'backup' },
      policy: { ...defaultPolicy, policyId: 'candidate' },
      livePolicyId: 'default',
      ...{ live, shadow },
    });
  }
  return tell.told;
}

function requested(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId } = facts;
  append('vm', vmStreamId(hostId, vmId), 'VmClaimed', { hostId, vmId, runId: backupId });
  append('backup', backupId, 'BackupTriggered', {
    backupId,
    hostId,
    vmId,
    kind: 'auto',
    mode: 'auto',
    policy: { ...defaultPolicy, ...story.policy },
    priority: 'normal',
    origin: { via: 'nats', requestId: `request-${story.name}`, requestedBy: 'nightly' },
    requestedAt: instantAt(0),
    parent: null,
  });
}

function planned(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId, diskIds, jobs, diskBytes, proxyIds } = facts;
  const policy = { ...defaultPolicy, ...story.policy };
  const jobsPerDisk = jobs.length / diskIds.length;
  append('plan', backupId, 'VmInspected', {
    backupId,
    hostId,
    vmId,
    disks: diskIds.map((diskId) => ({
      diskId,
      sizeBytes: diskBytes,
      identity: identity(diskBytes),
      allocated: { bucketBytes: CHUNK_BYTES, buckets: [diskBytes] },
      tracking: {
        state: 'unusable' as const,
        code: 'NoParent' as const,
        reason: 'there is no earlier restore point',
      },
    })),
    modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
  });
  append('plan', backupId, 'ProxiesCalculated', {
    backupId,
    hostId,
    vmId,
    parent: null,
    policy,
    ...{ priority: 'normal', askedAt: instantAt(0) },
    kind: 'full',
    mode: 'proxy-vm',
    modeReason: 'the full is above its threshold',
    disks: diskIds.map((diskId) => ({
      diskId,
      sizeBytes: diskBytes,
      kind: 'full' as const,
      kindReason: 'there is no earlier restore point',
      bytesToRead: diskBytes,
      childJobs: jobsPerDisk,
    })),
    childJobs: jobs.map((job) => ({ ...job, estimatedBytes: job.length })),
    arithmetic: {
      totalBytes: diskBytes * diskIds.length,
      childJobBytes: diskBytes / jobsPerDisk,
      childJobs: jobs.length,
      maxChildJobsPerProxy: 1,
      maxPortsPerProxy: 1,
      portsPerChildJob: 1,
      capacityPerProxy: 1,
      thresholdShare: 2,
    },
    proxiesCalculated: jobs.length,
    proxies: proxyIds.length,
    expectedShared: story.shared === true ? 1 : 0,
    waves: Math.ceil(jobs.length / proxyIds.length),
    limitedBy: [{ limit: 'maxProxiesPerHost', value: proxyIds.length, effect: 'child jobs run in waves' }],
    rejected: [{ what: 'direct-to-host', why: 'the full is above its threshold' }],
  });
}
