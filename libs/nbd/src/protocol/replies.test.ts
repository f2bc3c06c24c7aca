import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as say from '../testing/server-words.ts';
import { Feed } from './machine.ts';
import { type Progress, replies, type Settled } from './replies.ts';
import { PendingEffect, PendingRead, PendingStatus, type Transaction } from './transactions.ts';
import { CHUNK, COMMAND } from './values.ts';

const DONE = 1;
const OFFSET = 2 ** 40;
const request = (command: number, length: number, offset = OFFSET) => ({ command, flags: 0, offset, length });

/** Feeds all this to a client with these requests in flight; answers their handles in the order they were settled. */
function receive(
  requests: ReadonlyMap<number, Transaction>,
  words: Uint8Array,
  options: { structured?: boolean; pieces?: Iterable<number> } = {},
): number[] {
  const settled: number[] = [];
  const pending = new Map(requests);
  const feed = new Feed<never, Settled | Progress>(replies(pending, options.structured ?? true), (effect) => {
    if ('settled' in effect && pending.delete(effect.handle)) settled.push(effect.handle);
  });
  feed.start();
  let at = 0;
  for (const piece of options.pieces ?? []) at += feed.accept(words.subarray(at, at + piece));
  feed.accept(words.subarray(at));
  return settled;
}

test('however a server cuts, orders and interleaves its chunks, and however the network cuts those, reads are right', () => {
  const reads = fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 }), { minLength: 1, maxLength: 4 });
  const pieces = fc.array(fc.integer({ min: 1, max: 50 }));
  fc.assert(
    fc.property(reads, pieces, fc.infiniteStream(fc.nat(1000)), (contents, cuts, dice) => {
      const roll = (below: number): number => (dice.next().value as number) % below;
      const targets = contents.map((content) => new Uint8Array(content.length).fill(0xee));
      const pending = new Map(
        targets.map((target, i) => [
          i + 1,
          new PendingRead(request(COMMAND.read, target.length, OFFSET * (i + 1)), target),
        ]),
      );
      // Each content is cut into data and, where it is zero, sometimes holes; then shuffled; then all are interleaved.
      const queues = contents.map((content, i) => {
        const offset = OFFSET * (i + 1);
        const chunks: { type: number; payload: Buffer }[] = [];
        for (let at = 0; at < content.length; ) {
          const bytes = content.subarray(at, at + 1 + roll(16));
          const asHole = bytes.every((byte) => byte === 0) && roll(2) === 0;
          chunks.push(
            asHole
              ? { type: CHUNK.offsetHole, payload: say.hole(offset + at, bytes.length) }
              : { type: CHUNK.offsetData, payload: say.data(offset + at, bytes) },
          );
          at += bytes.length;
        }
        for (let k = chunks.length - 1; k > 0; k -= 1) {
          const other = roll(k + 1);
          [chunks[k], chunks[other]] = [chunks[other] as never, chunks[k] as never];
        }
        if (roll(2) === 0) chunks.push({ type: CHUNK.none, payload: Buffer.alloc(0) });
        return chunks.map(({ type, payload }, k) =>
          say.chunk(i + 1, k === chunks.length - 1 ? DONE : 0, type, payload),
        );
      });
      const stream: Buffer[] = [];
      while (queues.some((queue) => queue.length > 0)) {
        const left = queues.filter((queue) => queue.length > 0);
        stream.push(left[roll(left.length)]?.shift() ?? Buffer.alloc(0));
      }

      const settled = receive(pending, Buffer.concat(stream), { pieces: cuts });
      expect(settled.toSorted()).toEqual([...pending.keys()]);
      expect(targets).toEqual(contents);
    }),
    { numRuns: 300 },
  );
});

test('a hole of zeroes overwrites what the buffer held before', () => {
  const target = new Uint8Array(8).fill(0xee);
  const pending = new Map([[1, new PendingRead(request(COMMAND.read, 8), target)]]);
  receive(pending, say.chunk(1, DONE, CHUNK.offsetHole, say.hole(OFFSET, 8)));
  expect(target).toEqual(new Uint8Array(8));
});

test('simple replies answer in any order, and an error in one leaves the stream readable', () => {
  const [first, second] = [new Uint8Array(4), new Uint8Array(4)];
  const failing = new PendingRead(request(COMMAND.read, 4), first);
  const pending = new Map([
    [1, failing],
    [2, new PendingRead(request(COMMAND.read, 4), second)],
  ]);
  const words = Buffer.concat([say.simpleReply(2, 0, Buffer.from('good')), say.simpleReply(1, 5)]);
  expect(receive(pending, words, { structured: false })).toEqual([2, 1]);
  expect(Buffer.from(second).toString()).toBe('good');
  expect(failing.error).toMatchObject({ code: 'EIO', permanent: false });
});

describe('an error of the server fails one request, in words', () => {
  test.each([
    [
      'with a text',
      say.errorText(28, 'disk full'),
      CHUNK.error,
      'The server answered ENOSPC (disk full)',
      'ENOSPC',
      false,
    ],
    [
      'at an offset',
      say.errorText(5, '', say.u64(OFFSET + 7)),
      CHUNK.errorOffset,
      `The server answered EIO at offset ${OFFSET + 7}`,
      'EIO',
      false,
    ],
    [
      'of a value nobody knows',
      say.errorText(4711),
      CHUNK.error,
      'The server answered error 4711',
      'EINVAL',
      true,
    ],
    [
      'in a kind of chunk nobody knows',
      say.errorText(1, 'no', Buffer.alloc(3)),
      0x8abc,
      'The server answered EPERM (no)',
      'EPERM',
      true,
    ],
  ])('%s', (_, payload, type, message, code, permanent) => {
    const transaction = new PendingRead(request(COMMAND.read, 16), new Uint8Array(16));
    const part = say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET + 8, Buffer.alloc(8)));
    const words = Buffer.concat([part, say.chunk(1, 0, type, payload), say.chunk(1, DONE, CHUNK.none)]);
    expect(receive(new Map([[1, transaction]]), words)).toEqual([1]);
    expect(transaction.error).toMatchObject({ message, code, permanent });
  });
});

test('block status comes for several contexts, one chunk each, in any order', () => {
  const transaction = new PendingStatus(request(COMMAND.blockStatus, 4096), new Set([3, 9]));
  const words = Buffer.concat([
    say.chunk(
      1,
      0,
      CHUNK.blockStatus,
      say.status(9, [
        [512, 1],
        [100_000, 0],
      ]),
    ),
    say.chunk(1, DONE, CHUNK.blockStatus, say.status(3, [[1024, 0xffff_fffe]])),
  ]);
  expect(receive(new Map([[1, transaction]]), words)).toEqual([1]);
  expect(transaction.runs.get(9)).toEqual([
    { length: 512, flags: 1 },
    { length: 100_000, flags: 0 },
  ]);
  expect(transaction.runs.get(3)).toEqual([{ length: 1024, flags: 0xffff_fffe }]);
});

describe('a reply that breaks the protocol is found before it does harm', () => {
  const read = () => new PendingRead(request(COMMAND.read, 16), new Uint8Array(16));
  const write = () => new PendingEffect(request(COMMAND.write, 16));
  const status = () => new PendingStatus(request(COMMAND.blockStatus, 16), new Set([1]));
  const bytes = (length: number) => Buffer.alloc(length, 1);

  test.each<[string, () => Transaction, Uint8Array, RegExp, boolean?]>([
    ['an unknown magic', read, bytes(16), /reply began with 0x01010101/],
    ['an unknown handle', read, say.chunk(2, DONE, CHUNK.none), /handle 0x0000000000000002/],
    [
      'a handle that is ours in its lower half',
      read,
      say.chunk(2n ** 32n + 1n, DONE, CHUNK.none),
      /handle 0x0000000100000001/,
    ],
    ['the same reply twice', write, Buffer.concat([say.simpleReply(1), say.simpleReply(1)]), /handle/],
    ['chunks that were not agreed on', read, say.chunk(1, DONE, CHUNK.none), /began with 0x668e33ef/, false],
    [
      'a simple reply where chunks were agreed on',
      read,
      say.simpleReply(1, 0, bytes(16)),
      /simple reply to Reading 16 bytes/,
    ],
    [
      'data before the request',
      read,
      say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET - 1, bytes(4))),
      /outside of or twice/,
    ],
    [
      'data behind the request',
      read,
      say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET + 13, bytes(4))),
      /outside of or twice/,
    ],
    [
      'data at no place a disk has',
      read,
      say.chunk(1, 0, CHUNK.offsetData, Buffer.concat([say.u64(2n ** 64n - 1n), bytes(4)])),
      /more than any disk/,
    ],
    [
      'a data chunk of 4 GiB',
      read,
      say.chunk(1, 0, CHUNK.offsetData, Buffer.alloc(0), 0xffff_ffff),
      /data chunk of 4294967295 bytes/,
    ],
    [
      'a data chunk without data',
      read,
      say.chunk(1, 0, CHUNK.offsetData, say.u64(OFFSET)),
      /data chunk of 8 bytes/,
    ],
    [
      'a hole larger than the request',
      read,
      say.chunk(1, 0, CHUNK.offsetHole, say.hole(OFFSET, 17)),
      /outside of or twice/,
    ],
    [
      'a hole of nothing',
      read,
      say.chunk(1, 0, CHUNK.offsetHole, say.hole(OFFSET, 0)),
      /outside of or twice/,
    ],
    ['a hole in 11 bytes', read, say.chunk(1, 0, CHUNK.offsetHole, bytes(11)), /hole described in 11/],
    [
      'the same bytes twice',
      read,
      Buffer.concat([
        say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET, bytes(8))),
        say.chunk(1, 0, CHUNK.offsetHole, say.hole(OFFSET + 7, 2)),
      ]),
      /outside of or twice/,
    ],
    [
      'success without all bytes',
      read,
      Buffer.concat([
        say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET, bytes(15))),
        say.chunk(1, DONE, CHUNK.none),
      ]),
      /success without all of the bytes/,
    ],
    ['an empty chunk that is not the last', read, say.chunk(1, 0, CHUNK.none), /empty chunk/],
    ['an empty chunk with bytes', read, say.chunk(1, DONE, CHUNK.none, bytes(1)), /empty chunk of 1 bytes/],
    ['a kind of chunk nobody knows', read, say.chunk(1, 0, 77, bytes(4)), /unknown type 77/],
    ['an error of value 0', read, say.chunk(1, DONE, CHUNK.error, say.errorText(0)), /error of value 0/],
    [
      'an error text longer than its chunk',
      read,
      say.chunk(1, DONE, CHUNK.error, say.errorText(5, 'x').subarray(0, 6)),
      /longer than its chunk/,
    ],
    [
      'an error of a megabyte',
      read,
      say.chunk(1, DONE, CHUNK.error, Buffer.alloc(0), 1 << 20),
      /error of 1048576 bytes/,
    ],
    [
      'data in the reply to a write',
      write,
      say.chunk(1, 0, CHUNK.offsetData, say.data(OFFSET, bytes(4))),
      /data in the reply to Writing/,
    ],
    [
      'a status in the reply to a read',
      read,
      say.chunk(1, 0, CHUNK.blockStatus, say.status(1, [[1, 0]])),
      /block status in the reply to Reading/,
    ],
    [
      'a status without runs',
      status,
      say.chunk(1, 0, CHUNK.blockStatus, say.status(1, [])),
      /block status of 4 bytes/,
    ],
    [
      'a status with a run of nothing',
      status,
      say.chunk(
        1,
        0,
        CHUNK.blockStatus,
        say.status(1, [
          [16, 0],
          [0, 0],
        ]),
      ),
      /describes no bytes/,
    ],
    [
      'a status cut in half',
      status,
      say.chunk(1, 0, CHUNK.blockStatus, bytes(15)),
      /block status of 15 bytes/,
    ],
    [
      'a status of 4 GiB',
      status,
      say.chunk(1, 0, CHUNK.blockStatus, Buffer.alloc(0), 0xffff_fffc),
      /block status of 4294967292 bytes/,
    ],
    [
      'a status for a context nobody granted',
      status,
      say.chunk(1, 0, CHUNK.blockStatus, say.status(2, [[16, 0]])),
      /unknown context id 2/,
    ],
    [
      'a status twice for one context',
      status,
      Buffer.concat([
        say.chunk(1, 0, CHUNK.blockStatus, say.status(1, [[16, 0]])),
        say.chunk(1, 0, CHUNK.blockStatus, say.status(1, [[16, 0]])),
      ]),
      /context id 1 twice/,
    ],
    ['success without a status', status, say.simpleReply(1), /success without context id 1/],
  ])('%s', (_, transaction, words, message, structured = true) => {
    expect(() => receive(new Map([[1, transaction()]]), words, { structured })).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(message),
        permanent: true,
        code: 'NbdProtocolViolation',
      }),
    );
  });
});
