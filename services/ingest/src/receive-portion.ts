/**
 * The data path of one child job: extents are asked of the host, data is read through the leased ports, chunks go into the
 * repository, and what is durable there is handed to `onReceived`. Several pieces are under way per port, so that reading,
 * hashing and storing overlap; memory is bounded by the repository's buffers.
 * Leaves the log, leases and retries to others. Every wait below has a time-out of its own (libs/nbd; libs/repository, answers.ts).
 */
import { type Extent, Fault } from '@backhaul/kernel';
import { connectNbd, type NbdClient } from '@backhaul/nbd';
import type { Repository } from '@backhaul/repository';
import type { Lease } from './child-job.ts';
import { ALLOCATION, type AskStatus, type Piece, piecesOfFull, piecesOfIncremental } from './pieces.ts';

/** Pieces under way per port: one is read while others are hashed and stored. */
const PIECES_PER_PORT = 4;

/** A proxy's port may still be saying what a client that died was told: it is tried again before the attempt is given up. */
const GARBLED_MILLISECONDS = 2_000;

export interface ReceivedPiece {
  readonly offset: number;
  readonly length: number;
  readonly digest: string | null;
  readonly readBytes: number;
  readonly storedBytes: number;
}

export interface PortionOrder {
  readonly lease: Lease;
  readonly kind: 'full' | 'incremental';
  readonly received: readonly Extent[];
  /** Read by an incremental though it has not changed: see pieces.ts. */
  readonly damaged: readonly Extent[];
  readonly repository: Pick<Repository, 'takeBuffer' | 'putBuffer'>;
  readonly requestMilliseconds: number;
  readonly signal: AbortSignal;
  /** Resolves when so many bytes may be read. */
  mayRead(bytes: number): Promise<void>;
  /** Called once a piece is durable. A throw ends the portion. */
  onReceived(piece: ReceivedPiece): void;
}

/** Throws the first thing that went wrong, when nothing is under way any more. */
export async function receivePortion(order: PortionOrder): Promise<void> {
  const { lease, kind, received } = order;
  if (lease.length === 0) return;
  const connections: NbdClient[] = [];
  try {
    const contexts =
      kind === 'incremental' && lease.extents.changedContext !== null
        ? [ALLOCATION, lease.extents.changedContext]
        : [ALLOCATION];
    const host = await connect(order, lease.extents.uri, contexts, connections);
    const ports: NbdClient[] = [];
    for (const { uri } of lease.ports) ports.push(await connect(order, uri, [], connections));
    await readAll(order, ports, piecesOf(order, host, received));
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

async function connect(
  { lease, requestMilliseconds, signal }: PortionOrder,
  uri: string,
  contexts: readonly string[],
  connections: NbdClient[],
): Promise<NbdClient> {
  const connection = await connectNbd({
    ...{ uri, contexts, requestMilliseconds, signal },
    garbledMilliseconds: GARBLED_MILLISECONDS,
  });
  connections.push(connection);
  if (connection.sizeBytes < lease.diskBytes) {
    throw new Fault(
      `Disk ${lease.diskId} of vm ${lease.vmId} has ${lease.diskBytes} bytes in its snapshot, but ${connection.sizeBytes} at ${uri}`,
      { permanent: true, code: 'SizeDiffers' },
    );
  }
  return connection;
}

function piecesOf(
  { lease, kind, damaged }: PortionOrder,
  host: NbdClient,
  received: readonly Extent[],
): AsyncGenerator<Piece> {
  const portion = { offset: lease.offset, length: lease.length };
  const ask: AskStatus = (context, range) => host.blockStatus(context, range.offset, range.length);
  const canAskAllocation = host.contexts.includes(ALLOCATION);
  if (kind === 'full') return piecesOfFull(portion, canAskAllocation ? ask : undefined, received);
  const changed = lease.extents.changedContext;
  if (changed === null || !host.contexts.includes(changed)) {
    throw new Fault(
      `The host does not offer the changed blocks of disk ${lease.diskId} of vm ${lease.vmId} (context ${changed ?? 'none'}) any more`,
      { permanent: true, code: 'ChangedBlocksGone' },
    );
  }
  return piecesOfIncremental(portion, changed, ask, canAskAllocation, received, damaged);
}

async function readAll(
  order: PortionOrder,
  ports: readonly NbdClient[],
  pieces: AsyncGenerator<Piece>,
): Promise<void> {
  let failed: { error: unknown } | undefined;
  // Async generators answer overlapping calls of next() in turn, so the lanes can share one.
  const lane = async (port: NbdClient): Promise<void> => {
    while (failed === undefined) {
      order.signal.throwIfAborted();
      const next = await pieces.next();
      if (next.done === true) return;
      const piece = await receivePiece(order, port, next.value);
      order.onReceived(piece);
    }
  };
  const lanes = ports.flatMap((port) => Array.from({ length: PIECES_PER_PORT }, () => lane(port)));
  // The first failure ends the others; all have ended before the connections go.
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

async function receivePiece(
  { repository, mayRead }: PortionOrder,
  port: NbdClient,
  piece: Piece,
): Promise<ReceivedPiece> {
  const { offset, length, reads } = piece;
  if (reads.length === 0) return { offset, length, digest: null, readBytes: 0, storedBytes: 0 };
  const readBytes = reads.reduce((sum, read) => sum + read.length, 0);
  // Before the buffer: who waits for a limit holds no memory that others could use.
  await mayRead(readBytes);
  const buffer = await repository.takeBuffer();
  try {
    const data = buffer.bytes.subarray(0, length);
    let filled = offset;
    const reading: Promise<void>[] = [];
    for (const read of reads) {
      data.fill(0, filled - offset, read.offset - offset);
      reading.push(
        port.read(
          read.offset,
          read.length,
          data.subarray(read.offset - offset, read.offset - offset + read.length),
        ),
      );
      filled = read.offset + read.length;
    }
    data.fill(0, filled - offset);
    // All must have settled before the buffer may be used again: a late reply still writes into it.
    const settled = await Promise.allSettled(reading);
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
    const stored = await repository.putBuffer(buffer, length);
    return { offset, length, digest: stored.digest, readBytes, storedBytes: stored.storedBytes };
  } finally {
    buffer.release();
  }
}
