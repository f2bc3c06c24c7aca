/** The backup of a disk of noise, which nothing can make smaller, behind a real port, up to the lease of its one child job. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Recorded } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { serveNbd } from '@backhaul/nbd';
import { restoreDisk } from '@backhaul/repository';
import { expect, onTestFinished } from 'vitest';
import { type BackupLab, backupOf, endOf, leaseOf, never, upToSnapshot } from './backup-lab.fixture.ts';
import { childJobStream } from './child-job.ts';
import { completeBackup } from './complete-backup.ts';

export const SIZE = 24 * MiB;

async function served(directory: string) {
  const content = randomBytes(SIZE);
  const server = await serveNbd({
    exports: [
      {
        ...{ name: 'vda', sizeBytes: SIZE, readOnly: true },
        read: async (offset, length) => [content.subarray(offset, offset + length)],
        extents: async (_, length) => [{ length, isHole: false }],
      },
    ],
    listen: { kind: 'unix', socketPath: join(directory, 'port') },
    log: () => undefined,
  });
  onTestFinished(() => server.close());
  return { content, uri: server.uri.replace('///', '///vda') };
}

export async function leasedNoise(lab: BackupLab, name: string) {
  const { content, uri } = await served(lab.directory);
  const one = backupOf(lab, name, { sizeBytes: SIZE });
  await upToSnapshot(lab, one);
  const lease = leaseOf(one, 1);
  const event = {
    ...lease,
    data: {
      ...lease.data,
      ...{ length: SIZE, diskBytes: SIZE, kind: 'full', ports: [{ port: 0, uri }] },
      extents: { uri, changedContext: null },
    },
  } as Recorded<'PortsLeased'>;
  const story = (): Promise<Recorded[]> =>
    Array.fromAsync(lab.parts.store.readStream(childJobStream(one.childJobId)));
  return { one, event, story, content };
}

/** Completes the backup, and restores its disk. */
export async function completedAndRestored(
  lab: BackupLab,
  backupId: string,
  completed: Recorded<'ChildJobCompleted'>,
): Promise<Buffer> {
  await completeBackup(lab.parts, completed, never);
  expect((await endOf(lab, backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
  const stored = await lab.repository.readManifest(backupId);
  if (stored === undefined) throw new Error('The backup was completed');
  const target = join(lab.directory, 'restored');
  await restoreDisk({ repository: lab.repository, manifest: stored.manifest, diskId: 'vda', target });
  return await readFile(target);
}
