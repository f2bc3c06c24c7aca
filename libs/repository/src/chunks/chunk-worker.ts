/**
 * Runs on a worker thread: hashing, compressing and unpacking, which would hold up the event loop. Buffers arrive
 * transferred and leave transferred: no byte of a chunk is copied between threads. It does no I/O.
 */
import { isMainThread, parentPort } from 'node:worker_threads';
import { describeError } from '@backhaul/kernel';
import { compressed, digestOf, isZero, plainBytes, storedHeader } from '../format/chunk-file.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export interface Jobs {
  /** The name of the chunk, or null where it is all zero. */
  digest: { ask: { data: Bytes }; answer: { digest: string | null; data: Bytes } };
  /** The chunk file in front of and, unless `plainFollows`, with its body; `plainFollows`: the plain bytes are the body. */
  encode: {
    ask: { data: Bytes; level: number };
    answer: { parts: Bytes[]; plainFollows: boolean; data: Bytes };
  };
  /** The plain bytes of a chunk file, or what is wrong with it. */
  decode: { ask: { file: Bytes; digest: string }; answer: { plain: Bytes } | { damage: string } };
}
export type JobKind = keyof Jobs;
export type Request = { [K in JobKind]: { id: number; kind: K; ask: Jobs[K]['ask'] } }[JobKind];
export type Reply = { id: number; answer: Jobs[JobKind]['answer'] } | { id: number; error: string };

function perform(request: Request): { answer: Jobs[JobKind]['answer']; owned: Bytes[] } {
  switch (request.kind) {
    case 'digest': {
      const { data } = request.ask;
      return { answer: { digest: isZero(data) ? null : digestOf(data), data }, owned: [data] };
    }
    case 'encode': {
      const { data, level } = request.ask;
      const packed = compressed(data, level);
      const parts = packed ?? [storedHeader(data.length)];
      return { answer: { parts, plainFollows: packed === undefined, data }, owned: [...parts, data] };
    }
    case 'decode': {
      try {
        const plain = plainBytes(request.ask.file, request.ask.digest);
        return { answer: { plain }, owned: [plain] };
      } catch (error) {
        return { answer: { damage: describeError(error) }, owned: [] };
      }
    }
  }
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort;
  port.on('message', (request: Request) => {
    try {
      const { answer, owned } = perform(request);
      port.postMessage({ id: request.id, answer } satisfies Reply, [
        ...new Set(owned.map((bytes) => bytes.buffer)),
      ]);
    } catch (error) {
      port.postMessage({ id: request.id, error: describeError(error) } satisfies Reply);
    }
  });
}
