/**
 * Reading a whole disk over NBD, beside `nbdcopy ... null:` from the same server in the same minutes: the two take turns, and the
 * middle of each one's times counts. 1 GiB of random data in a raw image and in a qcow2, in the page cache, over a
 * Unix socket, by one connection and by two. `nbd.read.cpuSecondsPerGib` is what the reading costs this
 * process, which it takes from hashing and compressing.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, Fault, GiB, invariant, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';

const execute = promisify(execFile);
const SIZE = GiB;
const PIECE = 4 * MiB;
const ROUNDS = 5;

interface Reading {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export async function run(): Promise<Record<string, number>> {
  const folder = await mkdtemp(join(tmpdir(), 'backhaul-bench-nbd-'));
  try {
    const raw = join(folder, 'disk.raw');
    const qcow2 = join(folder, 'disk.qcow2');
    await writeRandom(raw);
    await execute('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    return {
      ...(await compare(folder, raw, 'raw', '')),
      ...(await compare(folder, qcow2, 'qcow2', '.qcow2')),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compare(folder: string, image: string, format: string, suffix: string) {
  const socket = join(folder, `${format}.sock`);
  const server = await startServer(image, format, socket);
  try {
    const uri = `nbd+unix:///?socket=${socket}`;
    const figures: Record<string, number> = {};
    for (const connections of [1, 2]) {
      const ours: Reading[] = [];
      const theirs: number[] = [];
      // The first round of each fills the page cache and compiles; it is not counted.
      for (let round = 0; round <= ROUNDS; round += 1) {
        const reading = await readAll(uri, connections);
        const copying = await copyToNull(uri, connections);
        if (round === 0) continue;
        ours.push(reading);
        theirs.push(copying);
      }
      const seconds = median(ours.map((reading) => reading.seconds));
      const key = connections === 1 ? '' : `.${connections}connections`;
      figures[`nbd.read.mibPerSecond${key}${suffix}`] = SIZE / MiB / seconds;
      figures[`nbd.read.vsNbdcopy${key}${suffix}`] = median(theirs) / seconds;
      figures[`nbd.read.cpuSecondsPerGib${key}${suffix}`] =
        median(ours.map((reading) => reading.cpuSeconds)) / (SIZE / GiB);
    }
    return figures;
  } finally {
    server.kill('SIGKILL');
  }
}

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

async function copyToNull(uri: string, connections: number): Promise<number> {
  const started = performance.now();
  await execute('nbdcopy', [`--connections=${connections}`, uri, 'null:']);
  return (performance.now() - started) / 1000;
}

async function startServer(image: string, format: string, socket: string): Promise<ChildProcess> {
  const pidfile = `${socket}.pid`;
  const args = ['-r', '-t', '-e', '4', '-f', format, '-k', socket, '--pid-file', pidfile, image];
  const child = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  await eventually('qemu-nbd being ready', 10_000, () => {
    if (failure !== undefined || child.exitCode !== null)
      throw new Fault(`qemu-nbd does not serve ${image}`, { cause: failure });
    return existsSync(pidfile) ? true : undefined;
  });
  return child;
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

function median(values: readonly number[]): number {
  const middle = values.toSorted((a, b) => a - b)[values.length >> 1];
  invariant(middle !== undefined, 'A median needs values');
  return middle;
}

if (import.meta.main) console.log(await run());
