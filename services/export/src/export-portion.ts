/**
 * The data path of one data stream: chunks are read from the repository, which checks their digests, and written through the leased
 * ports; what is zero stays a hole. Several pieces are under way per port, so that reading, unpacking and writing overlap, each
 * in one of the repository's buffers, which bound the memory. When all is written, a sample is read back and compared.
 * Leaves the log, leases and retries to others. Every wait below has a time-out of its own (libs/nbd; libs/repository, answers.ts).
 */
import { type Extent, Fault, isPermanent, MiB } from '@backhaul/kernel';
import { connectNbd, type NbdClient } from '@backhaul/nbd';
import {
  dataRuns,
  type ManifestDisk,
  type Repository,
  type Segment,
  SharedChunks,
} from '@backhaul/repository';
import { Confirmations } from './confirmations.ts';
import type { Lease } from './export-job.ts';
import { Confirmed, isPiece, type Piece, sampleOf, within } from './pieces.ts';
import { damaged } from './reasons.ts';

/** Pieces under way per port: one is written while others are read and unpacked. */
const PIECES_PER_PORT = 4;

/** A piece lies within a chunk. */
const PIECE_BYTES_MAX = 4 * MiB;

/** A proxy's port may still be saying what a client that died was told: it is tried again before the attempt is given up. */
const GARBLED_MILLISECONDS = 2_000;

export interface PortionOrder {
  readonly lease: Lease;
  /** The disk as the restore point has it. */
  readonly disk: ManifestDisk;
  /** What was confirmed before: sorted, joined. */
  readonly exported: readonly Extent[];
  /** Everything is read back, in place of a sample. */
  readonly verify: boolean;
  readonly repository: Pick<Repository, 'readSegments' | 'holdChunk'>;
  readonly requestMilliseconds: number;
  readonly signal: AbortSignal;
  /** Resolves when so many bytes may be written. */
  mayWrite(bytes: number): Promise<void>;
  /** Says in the log that these pieces are on the disk: they were written and flushed. One call after the other. */
  onExported(pieces: readonly Piece[]): Promise<void>;
}

export interface ExportedPortion {
  /** By this attempt. */
  readonly writtenBytes: number;
  readonly zeroBytes: number;
  readonly verifiedBytes: number;
}

/** Throws the first thing that went wrong, when nothing is under way any more. */
export async function exportPortion(order: PortionOrder): Promise<ExportedPortion> {
  const ports: NbdClient[] = [];
  try {
    for (const { uri } of order.lease.ports) ports.push(await connect(order, uri));
    const chunks = new ChunkSource(order, ports.length * PIECES_PER_PORT);
    const written = await writeAll(order, ports, chunks);
    ports.push(await connect(order, order.lease.readBack));
    const verifiedBytes = await readBackAll(order, ports.slice(-1), chunks);
    return { ...written, verifiedBytes };
  } finally {
    await Promise.all(ports.map((port) => port.close()));
  }
}

async function connect(
  { lease, requestMilliseconds, signal }: PortionOrder,
  uri: string,
): Promise<NbdClient> {
  const port = await connectNbd({
    uri,
    requestMilliseconds,
    signal,
    garbledMilliseconds: GARBLED_MILLISECONDS,
  });
  const wrong = whatIsWrong(port, lease.diskBytes);
  if (wrong === undefined) return port;
  await port.close();
  const target = `disk ${lease.diskId} of vm ${lease.vmId} at ${uri}`;
  throw new Fault(`Nothing can be written to ${target}: ${wrong}`, { permanent: true, code: 'NotATarget' });
}

function whatIsWrong({ readOnly, canFlush, sizeBytes }: NbdClient, diskBytes: number): string | undefined {
  if (readOnly) return 'it is read-only';
  // Without it nobody could say of a byte that it is safe (libs/nbd, `flush`).
  if (!canFlush) return 'it offers no flush';
  return sizeBytes < diskBytes ? `it has ${sizeBytes} bytes, and the disk ${diskBytes}` : undefined;
}

async function writeAll(
  order: PortionOrder,
  ports: readonly NbdClient[],
  chunks: ChunkSource,
): Promise<{ writtenBytes: number; zeroBytes: number }> {
  const confirmations = new Confirmations((pieces) => order.onExported(pieces));
  const before = new Confirmed(order.exported);
  const count = { writtenBytes: 0, zeroBytes: 0 };
  try {
    await throughAll(order, ports, toWrite(chunks.segments(), before, count), async (port, piece) => {
      await order.mayWrite(piece.length);
      await chunks.use(piece, (data) => writePiece(order, port, piece, data));
      count.writtenBytes += piece.length;
      await confirmations.written(piece, port);
    });
  } catch (error) {
    // What was written stays written, where its port still says so. The first thing that went wrong is what is told.
    await confirmations.all().catch(() => undefined);
    throw error;
  }
  await confirmations.all();
  return count;
}

async function* toWrite(
  segments: AsyncIterable<Segment>,
  before: Confirmed,
  count: { zeroBytes: number },
): AsyncGenerator<Piece> {
  for await (const segment of segments) {
    if (!isPiece(segment)) count.zeroBytes += segment.length;
    else if (!before.covers(segment)) yield segment;
  }
}

/** Zeros inside of a chunk stay holes as well: the disk was made for this recovery, and reads as zero where nothing was written. */
async function writePiece(
  { lease }: PortionOrder,
  port: NbdClient,
  { offset }: Piece,
  data: Uint8Array,
): Promise<void> {
  const writing = [...dataRuns(offset, data)].map((run) =>
    port.write(run.offset, data.subarray(run.offset - offset, run.offset - offset + run.length)),
  );
  try {
    // All must have settled before the chunk may be let go: what is not yet sent is sent from where it lies.
    for (const result of await Promise.allSettled(writing)) {
      if (result.status === 'rejected') throw result.reason;
    }
  } catch (cause) {
    const { diskId, vmId, proxyId } = lease;
    throw new Fault(
      `Writing ${data.length} bytes at offset ${offset} of disk ${diskId} of vm ${vmId} through proxy ${proxyId} failed`,
      { cause, permanent: isPermanent(cause) },
    );
  }
}

/**
 * From the host's own view of the disk, against the chunks as the repository has them now: a proxy VM would answer from its memory with what
 * it was told to write, whether the disk has it or not.
 */
async function readBackAll(
  order: PortionOrder,
  ports: readonly NbdClient[],
  chunks: ChunkSource,
): Promise<number> {
  let verifiedBytes = 0;
  // One for each piece under way, used again. Not the repository's, because who holds a chunk may not wait for another buffer.
  const spare: Buffer[] = [];
  await throughAll(order, ports, sampleOf(chunks.segments(), order.verify), async (port, piece) => {
    await chunks.use(piece, async (expected) => {
      const memory = spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES_MAX);
      const found = memory.subarray(0, piece.length);
      await port.read(piece.offset, piece.length, found);
      if (Buffer.compare(found, expected) !== 0) throw differs(order.lease, piece, found, expected);
      spare.push(memory);
    });
    verifiedBytes += piece.length;
  });
  return verifiedBytes;
}

function differs(lease: Lease, piece: Piece, found: Uint8Array, expected: Uint8Array): Fault {
  const at = piece.offset + found.findIndex((byte, index) => byte !== expected[index]);
  return new Fault(
    `Disk ${lease.diskId} of vm ${lease.vmId} does not hold what was written to it: read back from the host it differs at offset ${at}, in chunk ${piece.digest}`,
    { permanent: true, code: 'ReadBackDiffers' },
  );
}

/** Works at several pieces per port. The first failure ends the others; all have ended when it is thrown. */
async function throughAll(
  { signal }: PortionOrder,
  ports: readonly NbdClient[],
  pieces: AsyncGenerator<Piece>,
  work: (port: NbdClient, piece: Piece) => Promise<void>,
): Promise<void> {
  let failed: { error: unknown } | undefined;
  // Async generators answer overlapping calls of next() in turn, so the lanes can share one.
  const lane = async (port: NbdClient): Promise<void> => {
    while (failed === undefined) {
      signal.throwIfAborted();
      const next = await pieces.next();
      if (next.done === true) return;
      await work(port, next.value);
    }
  };
  const lanes = ports.flatMap((port) => Array.from({ length: PIECES_PER_PORT }, () => lane(port)));
  await Promise.all(
    lanes.map((running) =>
      running.catch((error: unknown) => {
        failed ??= { error };
      }),
    ),
  );
  await pieces.return(undefined);
  if (failed !== undefined) throw failed.error;
}

/** The portion as the repository has it. What is wrong with it is named by disk, offset and digest. */
class ChunkSource {
  readonly #order: PortionOrder;
  readonly #chunks: SharedChunks;

  constructor(order: PortionOrder, chunksMax: number) {
    this.#order = order;
    this.#chunks = new SharedChunks(order.repository, chunksMax);
  }

  async *segments(): AsyncGenerator<Segment> {
    const { disk, lease, repository } = this.#order;
    try {
      yield* within(lease, repository.readSegments(disk));
    } catch (cause) {
      if (!isPermanent(cause)) throw cause;
      throw damaged(`The map of disk ${disk.diskId} of the restore point cannot be read`, cause);
    }
  }

  /** The piece's bytes are `work`'s until it settles, and nobody's after. */
  async use(
    { offset, length, digest, chunkOffset }: Piece,
    work: (data: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const what = `Disk ${this.#order.disk.diskId}, offset ${offset}, chunk ${digest} of the restore point cannot be read`;
    const chunk = await this.#chunks.hold(digest).catch((cause: unknown) => {
      if (isPermanent(cause)) throw damaged(what, cause);
      throw new Fault(what, { cause });
    });
    try {
      const { bytes } = chunk;
      if (bytes.length < chunkOffset + length)
        throw damaged(`${what}: it has ${bytes.length} bytes where ${chunkOffset + length} are needed`);
      await work(bytes.subarray(chunkOffset, chunkOffset + length));
    } finally {
      chunk.release();
    }
  }
}
