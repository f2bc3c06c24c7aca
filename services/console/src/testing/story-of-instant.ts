/** A told instant recovery: of the restore point of another story's backup, to a VM that runs before its disk is filled. */
import { backupIdOf, DIGEST, factsOf } from './facts.ts';
import { planned, type RecoveryStory, requested } from './story-of-recovery.ts';
import { instantAt, type Told, teller } from './teller.ts';

export interface InstantStory extends Pick<RecoveryStory, 'name' | 'backup' | 'vmId'> {
  /** How far it is told. */
  readonly until?: 'filling';
}

const instant = { fillBytesPerSecond: null };

/** The VM dies once on the way. */
export function instantStory(story: InstantStory): Told[] {
  const facts = factsOf({ vmId: 'web-2', diskIds: ['vda'], ...story });
  const { backupId: recoveryId, hostId, vmId, diskBytes } = facts;
  const tell = teller(recoveryId, {});
  const { append } = tell;
  const run = { hostId, runId: recoveryId };
  const of = { recoveryId, hostId, vmId };
  const mounts = { vda: 'nbd+unix:///vda?socket=/run/mount.sock' };
  const machine = { memoryMiB: 1024, cpus: 1 };
  const order = { mode: 'direct-to-host', proxies: 0, replace: false, start: true } as const;
  requested(story, facts, tell, instant);
  const modeReason = 'an instant recovery';
  planned(story, facts, tell, { ...order, modeReason, childJobs: [], proxiesCalculated: 0, instant });
  append('host', hostId, 'ActivationRequested', {
    childJobs: [],
    ...{ purpose: 'recovery', ...run, vmId, ...order, machine, instant },
    disks: [{ diskId: 'vda', sizeBytes: diskBytes, bytesToWrite: diskBytes }],
    ...{ portsPerChildJob: 1, portsPerProxy: 1, maxChildJobsPerProxy: 1, maxDisksPerProxy: 13 },
    ...{ maxProxiesPerHost: 8, maxDirectStreams: 2, maxAttemptsPerChildJob: 4 },
    ...{ proxyIdleSeconds: 60, proxyActivationSeconds: 120, requestedAt: instantAt(102) },
    ...{ priority: 'high', askedAt: instantAt(100) },
  });
  append('mount', recoveryId, 'MountRequested', {
    ...{ ...of, backupId: backupIdOf(story.backup), manifestDigest: DIGEST, disks: ['vda'] },
  });
  append('mount', recoveryId, 'MountOpened', { ...of, mounts });
  append('host', hostId, 'TargetRequested', { ...run, vmId, mounts });
  const disks = [{ diskId: 'vda', sizeBytes: diskBytes, endpoint: mounts.vda }];
  append('host', hostId, 'TargetCreated', { ...run, vmId, disks });
  append('host', hostId, 'TargetKept', { ...run, vmId, started: true, notStarted: null });
  const progressed = (filledBytes: number) =>
    append('host', hostId, 'FillProgressed', { ...run, filledBytes, totalBytes: diskBytes });
  progressed(0);
  progressed(diskBytes / 2);
  append('host', hostId, 'FillInterrupted', { ...run, reason: 'the VM has ended' });
  progressed(0);
  if (story.until === 'filling') return tell.told;
  progressed(diskBytes);
  append('host', hostId, 'TargetFilled', { ...run, vmId, filledBytes: diskBytes });
  const totals = {
    diskBytes,
    ...{ writtenBytes: diskBytes, zeroBytes: 0, verifiedBytes: 0, chunks: 0 },
  };
  append('export', recoveryId, 'RecoveryCompleted', {
    ...{ ...of, backupId: backupIdOf(story.backup), mode: 'direct-to-host', totals },
    ...{ started: true, notStarted: null, completedAt: instantAt(140) },
  });
  append('host', hostId, 'RunClosed', { ...run, purpose: 'recovery', outcome: 'completed' });
  append('mount', recoveryId, 'MountEnding', of);
  append('mount', recoveryId, 'MountClosed', of);
  return tell.told;
}
