/**
 * A writer that is killed: puts chunks and restore points until then, and says each that was acknowledged on a line.
 * Arguments: the repository's folder, and a number that makes its ids its own.
 */
import { randomFillSync } from 'node:crypto';
import { openRepository } from '../open-repository.ts';
import type { Segment } from '../repository.ts';
import { sampleBackupId } from './sample-backup-id.ts';

const [location = '', writer = '0'] = process.argv.slice(2);
const repository = await openRepository({ location, workers: 1 });
const say = (kind: string, name: string): void => {
  process.stdout.write(`${kind} ${name}\n`);
};

async function chunks(seed: number): Promise<void> {
  for (let n = 0; ; n += 1) {
    // Half of it random and half not, so that packed and stored chunks and all sizes occur.
    const data = new Uint8Array(1 + ((seed * 7919 + n * 104_729) % 300_000));
    randomFillSync(data, 0, n % 2 === 0 ? data.length : Math.min(data.length, 64));
    const { digest } = await repository.putChunk(data);
    if (digest !== null) say('chunk', digest);
  }
}

async function restorePoints(): Promise<void> {
  for (let n = 0; ; n += 1) {
    const data = new Uint8Array(randomFillSync(Buffer.allocUnsafeSlow(1000)));
    const { digest } = await repository.putChunk(data);
    const segments: Segment[] = [{ offset: 0, length: 1000, digest, chunkOffset: 0 }];
    const backupId = sampleBackupId(Number(writer) * 10_000 + n);
    await repository.putManifest({
      ...{ backupId, hostId: 'host', vmId: 'vm', kind: 'full', parentBackupId: null },
      takenAt: new Date().toISOString(),
      disks: [{ diskId: 'vda', sizeBytes: 1000, segments }],
    });
    say('manifest', backupId);
  }
}

await Promise.all([...[1, 2, 3, 4, 5, 6].map((seed) => chunks(seed + Number(writer) * 10)), restorePoints()]);
