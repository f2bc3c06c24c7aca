/**
 * Reading a whole disk over NBD, beside `nbdcopy ... null:` from the same server in the same minutes: the two take turns, and the
 * middle of each one's times counts. 1 GiB of random data in a raw image and in a qcow2, in the page cache, over a
 * Unix socket, by one connection and by two. `nbd.read.cpuSecondsPerGib` is what the reading costs this
 * process, which it takes from hashing and compressing.
 */
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GiB, invariant, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { type Note, print } from './figures.ts';
import { median, timed, withQemuNbd } from './peers.ts';

const execute = promisify(execFile);
const SIZE = GiB;
const PIECE = 4 * MiB;
const ROUNDS = 5;

interface Reading {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export async function run(note: Note): Promise<undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'backhaul-bench-nbd-'));
  try {
    const raw = join(folder, 'disk.raw');
    const qcow2 = join(folder, 'disk.qcow2');
    await writeRandom(raw);
    await execute('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    await compare(note, folder, raw, 'raw', '');
    await compare(note, folder, qcow2, 'qcow2', '.qcow2');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const compare = (note: Note, folder: string, image: string, format: string, suffix: string) =>
  withQemuNbd(image, format, join(folder, `${format}.sock`), async (uri) => {
    for (const connections of [1, 2]) {
      const ours: Reading[] = [];
      const theirs: number[] = [];
      // The first round of each fills the page cache and compiles; it is not counted.
      for (let round = 0; round <= ROUNDS; round += 1) {
        const reading = await readAll(uri, connections);
        const copying = await timed(`nbdcopy --connections=${connections} '${uri}' null:`);
        if (round === 0) continue;
        ours.push(reading);
        theirs.push(copying);
      }
      const seconds = median(ours.map((reading) => reading.seconds));
      const key = connections === 1 ? '' : `.${connections}connections`;
      const cpuSeconds = median(ours.map((reading) => reading.cpuSeconds));
      note({
        [`nbd.read.mibPerSecond${key}${suffix}`]: SIZE / MiB / seconds,
        [`nbd.read.vsNbdcopy${key}${suffix}`]: median(theirs) / seconds,
        [`nbd.read.cpuSecondsPerGib${key}${suffix}`]: cpuSeconds / (SIZE / GiB),
      });
    }
  });

/** As ingest reads: chunk after chunk, two under way on each connection, into buffers that are used again. */
async function readAll(uri: string, connections: number): Promise<Reading> {
  const clients = await Promise.all(Array.from({ length: connections }, () => connectNbd({ uri })));
  const buffers = clients.flatMap((client) => [0, 1].map(() => ({ client, buffer: new Uint8Array(PIECE) })));
  const cpu = process.cpuUsage();
  const started = performance.now();
  let next = 0;
  await Promise.all(
    buffers.map(async ({ client, buffer }) => {
      invariant(client.sizeBytes === SIZE, 'The server serves the image of this benchmark');
      for (let offset = next; offset < SIZE; offset = next) {
        next += PIECE;
        await client.read(offset, PIECE, buffer);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  await Promise.all(clients.map((client) => client.close()));
  return { seconds, cpuSeconds: (user + system) / 1e6 };
}

async function writeRandom(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    const block = new Uint8Array(16 * MiB);
    for (let offset = 0; offset < SIZE; offset += block.length) {
      randomFillSync(block);
      await file.write(block, 0, block.length, offset);
    }
  } finally {
    await file.close();
  }
}

if (import.meta.main) await run(print);
