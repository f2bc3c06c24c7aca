/** What `backhaul verify` says of a chunk that rots and is made whole: against a real repository. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { derivedId } from '@backhaul/kernel';
import { openRepository } from '@backhaul/repository';
import { expect, onTestFinished, test } from 'vitest';
import type { CommandContext } from '../command.ts';
import { verify } from './verify.ts';

test('what is damaged is named with the way out, and what was healed since with when', async () => {
  const location = await mkdtemp(join(tmpdir(), 'bh-verify-'));
  const repository = await openRepository({ location, workers: 1 });
  onTestFinished(async () => {
    await repository.close();
    await rm(location, { recursive: true });
  });
  const content = Buffer.from('a disk of one small chunk');
  const digest = String((await repository.putChunk(content)).digest);
  const sizeBytes = content.length;
  await repository.putManifest({
    ...{ backupId: derivedId('test'), hostId: 'lab', vmId: 'web', kind: 'full', parentBackupId: null },
    takenAt: '2026-01-01T00:00:00Z',
    disks: [
      {
        ...{ diskId: 'vda', sizeBytes },
        segments: [{ offset: 0, length: sizeBytes, digest, chunkOffset: 0 }],
      },
    ],
  });
  const lines: string[] = [];
  const terminal = { out: (line: string) => lines.push(line), note: () => undefined, isWatched: false };
  const context = { terminal, locations: { repository: async () => location } } as unknown as CommandContext;

  const path = join(location, 'chunks', digest.slice(0, 2), digest);
  await writeFile(path, (await readFile(path)).fill(0x5a, 20));
  await expect(verify([], { deep: true }, context)).rejects.toThrow(
    /^1 problem.*The next backup of the VM stores damaged chunks anew/,
  );
  expect(lines.splice(0)).toEqual([expect.stringMatching(new RegExp(`^chunk ${digest}: .*vda, offset 0`))]);
  await repository.putChunk(content);
  await verify([], {}, context);
  expect(lines).toEqual([
    expect.stringMatching(new RegExp(`^healed: chunk ${digest}, found .* is whole since 20`)),
    expect.stringMatching(/are whole/),
  ]);
});
