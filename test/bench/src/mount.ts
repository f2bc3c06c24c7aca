/**
 * Looking into a restore point over NBD, beside `nbdkit file` on a raw file with the same bytes, in turns. The peer has nothing to unpack
 * and nothing to check, and its file is in the page cache: what a ratio below 1 costs is what restoring first would
 * have cost in time and room. 768 MiB: a third each random, text and zero, in turns of 4 MiB. Then a guest boots from a mount (mount-boot.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, invariant, KiB, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { type Note, print } from './figures.ts';
import { run as boot } from './mount-boot.ts';
import { median, peakMemoryMiB, timed } from './peers.ts';
import { BACKUP, CHUNK_BYTES, chunksOf, type DataKind, putRestorePoint } from './repository-data.ts';

const KINDS: readonly DataKind[] = ['random', 'text', 'zero'];
const CHUNKS_OF_EACH = 64;
const SIZE = KINDS.length * CHUNKS_OF_EACH * CHUNK_BYTES;
const ROUNDS = 3;
const IN_FLIGHT = 16;

interface Peer {
  readonly start: (socket: string) => ChildProcess;
}

export async function run(note: Note): Promise<undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'backhaul-bench-mount-'));
  try {
    const raw = join(folder, 'disk.raw');
    const repository = join(folder, 'repository');
    await writeDisk(raw, repository);
    const ours: Peer = {
      start: (socket) =>
        spawn(
          process.execPath,
          ['libs/cli/src/main.ts', 'mount', BACKUP, '--repository', repository, '--socket', socket],
          { stdio: 'ignore' },
        ),
    };
    const nbdkit: Peer = {
      start: (socket) => spawn('nbdkit', ['-f', '-r', '-U', socket, 'file', raw], { stdio: 'ignore' }),
    };
    const measured = { ours: await measure(folder, ours), nbdkit: await measure(folder, nbdkit) };
    const of = (key: keyof Figures): { mine: number; theirs: number } => ({
      mine: median(measured.ours.map((figures) => figures[key])),
      theirs: median(measured.nbdkit.map((figures) => figures[key])),
    });
    const [first, sequential, cold, warm] = [
      of('firstByteSeconds'),
      of('copySeconds'),
      of('coldSeconds'),
      of('warmSeconds'),
    ];
    note({
      'mount.firstByte.milliseconds': 1000 * first.mine,
      'mount.firstByte.vsNbdkit': first.theirs / first.mine,
      'mount.sequential.mibPerSecond': SIZE / MiB / sequential.mine,
      'mount.sequential.vsNbdkit': sequential.theirs / sequential.mine,
      'mount.random4k.cold.readsPerSecond': COLD_READS / cold.mine,
      'mount.random4k.cold.vsNbdkit': cold.theirs / cold.mine,
      'mount.random4k.warm.readsPerSecond': WARM_READS / warm.mine,
      'mount.random4k.warm.vsNbdkit': warm.theirs / warm.mine,
      'mount.peakMemoryMiB': Math.max(...measured.ours.map(({ memoryMiB }) => memoryMiB)),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  await boot(note);
}

interface Figures {
  readonly firstByteSeconds: number;
  readonly copySeconds: number;
  readonly coldSeconds: number;
  readonly warmSeconds: number;
  readonly memoryMiB: number;
}

const COLD_READS = 2000;
const WARM_READS = 40_000;
/** Less than the cache of a mount. */
const WARM_BYTES = 128 * MiB;

/** Each round with a server of its own, which has nothing in memory. */
async function measure(folder: string, peer: Peer): Promise<Figures[]> {
  const rounds: Figures[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const socket = join(folder, `${round}.sock`);
    const uri = `nbd+unix:///?socket=${socket}`;
    const begun = performance.now();
    const server = peer.start(socket);
    const ended = new Promise((resolve) => server.once('exit', resolve));
    try {
      await eventually('the first byte', 20_000, () => (existsSync(socket) ? firstByte(uri) : undefined), 5);
      const firstByteSeconds = (performance.now() - begun) / 1000;
      const coldSeconds = await readAtRandom(uri, COLD_READS, SIZE);
      const copySeconds = await timed(`nbdcopy --connections=4 '${uri}' null:`);
      await timed(`nbdcopy --connections=1 '${uri}' null:`);
      await readAtRandom(uri, 1000, WARM_BYTES);
      const warmSeconds = await readAtRandom(uri, WARM_READS, WARM_BYTES);
      invariant(server.pid !== undefined, 'The server runs');
      const memoryMiB = await peakMemoryMiB(server.pid);
      rounds.push({ firstByteSeconds, copySeconds, coldSeconds, warmSeconds, memoryMiB });
    } finally {
      server.kill('SIGTERM');
      await ended;
      await rm(socket, { force: true });
    }
  }
  return rounds;
}

async function firstByte(uri: string): Promise<true | undefined> {
  try {
    const client = await connectNbd({ uri });
    await client.read(0, 4096, new Uint8Array(4096));
    await client.close();
    return true;
  } catch {
    return undefined;
  }
}

/** Seconds for so many reads of 4 KiB, anywhere in the first `bytes`, 16 in flight; the same places on every run. */
async function readAtRandom(uri: string, reads: number, bytes: number): Promise<number> {
  const client = await connectNbd({ uri, windowRequests: IN_FLIGHT });
  let seed = 1;
  let left = reads;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      const target = new Uint8Array(4 * KiB);
      while (left > 0) {
        left -= 1;
        seed = (seed * 48_271) % 0x7fff_ffff;
        await client.read((seed % (bytes / target.length)) * target.length, target.length, target);
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  await client.close();
  return seconds;
}

/** The same bytes as a raw file and as a restore point. */
async function writeDisk(raw: string, location: string): Promise<void> {
  const kinds = await Promise.all(KINDS.map((kind) => chunksOf(kind, CHUNKS_OF_EACH)));
  const chunks = Array.from({ length: SIZE / CHUNK_BYTES }, (_, n) => {
    const chunk = kinds[n % KINDS.length]?.[Math.floor(n / KINDS.length)];
    invariant(chunk !== undefined, 'There is a chunk of each kind for each place');
    return chunk;
  });
  await putRestorePoint(location, SIZE, () => chunks);
  const file = await open(raw, 'w');
  try {
    await file.truncate(SIZE);
    for (const [n, chunk] of chunks.entries())
      if (KINDS[n % KINDS.length] !== 'zero') await file.write(chunk, 0, chunk.length, n * CHUNK_BYTES);
  } finally {
    await file.close();
  }
}

if (import.meta.main) await run(print);
