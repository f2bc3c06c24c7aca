/**
 * Runs on a worker thread: hashing, compressing and unpacking, which would hold up the event loop. What is put or held lies in the
 * memory that all threads share, and only its place is told; what is read to be kept arrives transferred and leaves so. No I/O.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { describeError } from '@backhaul/kernel';
import {
  CHUNK_HEADER_BYTES,
  decodeInPlace,
  digestOf,
  encodeInPlace,
  isZero,
  plainBytes,
} from '../format/chunk-file.ts';
import { slotOf } from './chunk-memory.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export interface Jobs {
  /** The name of the chunk, or null where it is all zero. */
  digest: { ask: { slot: number; length: number }; answer: string | null };
  /** Makes the slot's bytes a chunk file, in place, and answers its length: the plain bytes are gone after that. */
  encode: { ask: { slot: number; length: number; level: number }; answer: number };
  /** Makes the chunk file in the slot its plain bytes, in place, and answers their length, or what is wrong with the file. */
  decodeInPlace: {
    ask: { slot: number; fileBytes: number; digest: string };
    answer: { length: number } | { damage: string };
  };
  /** The plain bytes of a chunk file, or what is wrong with it. */
  decode: { ask: { file: Bytes; digest: string }; answer: { plain: Bytes } | { damage: string } };
}
export type JobKind = keyof Jobs;
export type Request = { [K in JobKind]: { id: number; kind: K; ask: Jobs[K]['ask'] } }[JobKind];
export type Reply = { id: number; answer: Jobs[JobKind]['answer'] } | { id: number; error: string };

interface Performed {
  readonly answer: Jobs[JobKind]['answer'];
  readonly owned: readonly ArrayBuffer[];
}

function perform(memory: SharedArrayBuffer, request: Request): Performed {
  switch (request.kind) {
    case 'digest': {
      const { slot, length } = request.ask;
      const plain = slotOf(memory, slot).subarray(CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + length);
      return { answer: isZero(plain) ? null : digestOf(plain), owned: [] };
    }
    case 'encode': {
      const { slot, length, level } = request.ask;
      return { answer: encodeInPlace(slotOf(memory, slot), length, level), owned: [] };
    }
    case 'decodeInPlace': {
      try {
        const { slot, fileBytes, digest } = request.ask;
        return { answer: { length: decodeInPlace(slotOf(memory, slot), fileBytes, digest) }, owned: [] };
      } catch (error) {
        return { answer: { damage: describeError(error) }, owned: [] };
      }
    }
    case 'decode': {
      try {
        const { file, digest } = request.ask;
        const plain = plainBytes(file, digest);
        // Given back at once: the collector comes by too seldom for buffers of this size.
        if (plain.buffer !== file.buffer) file.buffer.transfer(0);
        return { answer: { plain }, owned: [plain.buffer] };
      } catch (error) {
        return { answer: { damage: describeError(error) }, owned: [] };
      }
    }
  }
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort;
  const { memory } = workerData as { memory: SharedArrayBuffer };
  port.on('message', (request: Request) => {
    try {
      const { answer, owned } = perform(memory, request);
      port.postMessage({ id: request.id, answer } satisfies Reply, owned);
    } catch (error) {
      port.postMessage({ id: request.id, error: describeError(error) } satisfies Reply);
    }
  });
}
