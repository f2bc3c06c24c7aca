import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { chunkName, manifestName, mapName } from './format/bounds.ts';
import { collected } from './testing/collected.ts';
import { sampleBackupId } from './testing/sample-backup-id.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { verify } from './verify.ts';

test('a sound repository has no problems, and every chunk is counted once', async () => {
  const repository = await sampleRepository();
  const content = noise(5 * MiB);
  await storeDisk(repository, 1, content, MiB);
  await storeDisk(repository, 2, Buffer.concat([content, content, noise(MiB)]), MiB);
  expect(await verify({ repository })).toEqual({
    ...{ manifests: 2, chunks: 6, readBytes: 0, problems: [], healed: [], moreProblems: 0 },
  });
  expect(await verify({ repository, deep: true })).toMatchObject({
    chunks: 6,
    readBytes: 6 * MiB,
    problems: [],
  });
});

test('everything that is wrong is found in one run, and named', async () => {
  const repository = await sampleRepository();
  const stored = [];
  for (const n of [1, 2, 3]) stored.push(await storeDisk(repository, n, noise(3 * MiB), MiB));
  const [first, second] = stored;
  const disk = first?.manifest.disks[0];
  const lostMap = second?.manifest.disks[0]?.mapDigest ?? '';
  if (disk === undefined) throw new Error('a disk was put');
  const [missing, rotten] = await collected(repository.readSegments(disk));
  const at = (name: string): string => join(repository.location, name);

  await rm(at(chunkName(missing?.digest ?? '')));
  const file = await readFile(at(chunkName(rotten?.digest ?? '')));
  file[5000] = (file[5000] ?? 0) ^ 0x10;
  await writeFile(at(chunkName(rotten?.digest ?? '')), file);
  await rm(at(mapName(lostMap)));
  await truncate(at(manifestName(sampleBackupId(3))), 50);

  const where = { backupId: sampleBackupId(1), diskId: 'vda' };
  const shallow = await verify({ repository });
  expect(shallow.problems).toEqual([
    expect.objectContaining({ kind: 'manifest', thing: manifestName(sampleBackupId(3)) }),
    { kind: 'chunk', thing: missing?.digest, reason: 'is missing', ...where, offset: 0 },
    expect.objectContaining({ kind: 'map', thing: lostMap, backupId: sampleBackupId(2) }),
  ]);
  const deep = await verify({ repository, deep: true });
  expect(deep.problems).toContainEqual(
    expect.objectContaining({ kind: 'chunk', thing: rotten?.digest, ...where, offset: MiB }),
  );
  expect(deep.problems).toHaveLength(4);
  expect((await verify({ repository, backupIds: [sampleBackupId(9)] })).problems).toMatchObject([
    { kind: 'manifest', reason: 'there is no such backup' },
  ]);
});
