/**
 * How fast chunks become durable, and what that costs in processor time, beside `zstd -1` of the same bytes in the same
 * run. Run alone: `node test/bench/src/repository.ts [MiB of each kind]`.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GiB, MiB } from '@backhaul/kernel';
import { openRepository, type Repository } from '@backhaul/repository';
import { type Figures, type Note, print } from './figures.ts';
import { CHUNK_BYTES, chunksOf, type DataKind } from './repository-data.ts';

const KINDS: readonly DataKind[] = ['random', 'text', 'zero'];
/** As many chunks in flight as a backup with a few streams holds. */
const IN_FLIGHT = 12;

interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** Every figure under a stable key: MiB/s, processor seconds per GiB, and ratios where above 1 is better than the peer. */
export async function run(note: Note, mebibytes = 512): Promise<undefined> {
  const bytes = mebibytes * MiB;
  for (const kind of KINDS) {
    const folder = await mkdtemp(join(tmpdir(), 'backhaul-bench-repository-'));
    try {
      const chunks = await chunksOf(kind, bytes / CHUNK_BYTES);
      const peer = await zstdOf(folder, chunks);
      note(rates(`repository.zstd.${kind}`, bytes, peer));
      await measuredWith(folder, async (repository) => {
        // Starts the threads: a service starts once and runs for months.
        await Promise.all([1, 2, 3, 4].map((n) => repository.putChunk(new Uint8Array([n]))));
        note(against(`repository.put.${kind}.new`, bytes, peer, await put(repository, chunks)));
      });
      await measuredWith(folder, async (repository) => {
        await Promise.all([5, 6, 7, 8].map((n) => repository.putChunk(new Uint8Array([n]))));
        note(against(`repository.put.${kind}.known`, bytes, peer, await put(repository, chunks)));
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

async function measuredWith(folder: string, work: (repository: Repository) => Promise<void>): Promise<void> {
  const repository = await openRepository({ location: join(folder, 'repository') });
  try {
    await work(repository);
  } finally {
    await repository.close();
  }
}

async function put(repository: Repository, chunks: readonly Uint8Array[]): Promise<Cost> {
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  let next = 0;
  const stream = async (): Promise<void> => {
    while (next < chunks.length) {
      const at = next;
      next += 1;
      await repository.putChunk(chunks[at] as Uint8Array);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, stream));
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { seconds, cpuSeconds: (user + system) / 1e6 };
}

/** To a file of the same disk, and that file synced: what the repository promises as well. */
async function zstdOf(folder: string, chunks: readonly Uint8Array[]): Promise<Cost> {
  const source = join(folder, 'plain');
  await writeFile(source, chunks);
  const script = `TIMEFORMAT='%R %U %S'; time { zstd -q -1 -c "$1" > "$2" && sync "$2"; }`;
  const { stderr } = await promisify(execFile)('bash', [
    '-c',
    script,
    'bash',
    source,
    join(folder, 'packed'),
  ]);
  await Promise.all(['plain', 'packed'].map((name) => rm(join(folder, name))));
  const [seconds = 0, user = 0, system = 0] = stderr.trim().split(/\s+/).map(Number);
  return { seconds, cpuSeconds: user + system };
}

const rates = (key: string, bytes: number, cost: Cost): Figures => ({
  [`${key}.mibPerSecond`]: bytes / MiB / cost.seconds,
  [`${key}.cpuSecondsPerGiB`]: cost.cpuSeconds / (bytes / GiB),
});

const against = (key: string, bytes: number, peer: Cost, cost: Cost): Figures => ({
  ...rates(key, bytes, cost),
  [`${key}.vsZstd`]: peer.seconds / cost.seconds,
  [`${key}.cpuVsZstd`]: peer.cpuSeconds / cost.cpuSeconds,
});

if (import.meta.main) await run(print, Number(process.argv[2] ?? 512));
