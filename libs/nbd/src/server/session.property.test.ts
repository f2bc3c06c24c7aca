/**
 * Whatever a client says, in whatever pieces it arrives: the server answers or hangs up, and never anything else. What our own client's
 * machine, which trusts nobody, makes of the replies is held against a model of the disk.
 */
import { Fault } from '@backhaul/kernel';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Feed } from '../protocol/machine.ts';
import { replies } from '../protocol/replies.ts';
import { encodeRequest, REQUEST_BYTES, type Request } from '../protocol/requests.ts';
import { PendingEffect, PendingRead, PendingStatus, type Transaction } from '../protocol/transactions.ts';
import { COMMAND, COMMAND_FLAG, OPTION } from '../protocol/values.ts';
import * as say from '../testing/client-words.ts';
import { patternedBytes } from '../testing/images.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import type { NbdExport } from './export.ts';
import type { Agreement } from './haggling.ts';
import { ALLOCATION_ID } from './option-answers.ts';
import { perform } from './perform.ts';
import type { Asked } from './requests.ts';
import { session } from './session.ts';

const SIZE = 40_000;
const initial = (): Uint8Array => {
  const content = new Uint8Array(SIZE);
  content.set(patternedBytes(9000, 1), 3000);
  content.set(patternedBytes(100, 2), 30_000);
  return content;
};

interface Heard {
  readonly sent: Buffer;
  readonly asked: Asked[];
  readonly agreement: Agreement | undefined;
  readonly fault: Fault | undefined;
}

/** What a session makes of bytes that arrive in these pieces. Lets through everything but Faults. */
function listen(exports: readonly NbdExport[], pieces: readonly Uint8Array[]): Heard {
  const sent: Uint8Array[] = [];
  const asked: Asked[] = [];
  let agreement: Agreement | undefined;
  let fault: Fault | undefined;
  const feed = new Feed(session(exports), (effect) => {
    if ('send' in effect) sent.push(...effect.send.map((bytes) => Uint8Array.from(bytes)));
    else if ('agreed' in effect) agreement = effect.agreed;
    else asked.push(effect);
  });
  feed.start();
  try {
    for (const piece of pieces) feed.accept(piece);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    fault = error;
  }
  return { sent: Buffer.concat(sent), asked, agreement, fault };
}

function cutInto(bytes: Buffer, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  pieces.push(bytes.subarray(at));
  return pieces;
}

const names = fc.constantFrom('', 'vda', 'vdb', 'sda', 'x'.repeat(5000), 'ä\0');
const optionNumber = fc.oneof(
  fc.constantFrom(...Object.values(OPTION)),
  fc.nat(20),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const optionData = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(names, fc.array(fc.nat(5), { maxLength: 4 }))
    .map(([name, kinds]) => say.infoAsked(name, ...kinds)),
  fc
    .tuple(names, fc.array(fc.constantFrom('base:allocation', 'base:', 'qemu:x', ''), { maxLength: 3 }))
    .map(([name, queries]) => say.contextsAsked(name, ...queries)),
);
const anyOption = fc
  .tuple(optionNumber, optionData, fc.option(fc.nat(100), { freq: 10 }))
  .map(([number, data, claimed]) => say.option(number, data, claimed ?? data.length));
const anyCommand = fc
  .record({
    command: fc.oneof(fc.nat(9), fc.nat(0xffff)),
    flags: fc.oneof(fc.constant(0), fc.nat(0xffff)),
    offset: fc.oneof(fc.nat(SIZE), fc.maxSafeNat()),
    length: fc.oneof(fc.nat(SIZE), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  })
  .map((asked) => say.request(asked));
const words = fc.oneof(
  { weight: 5, arbitrary: anyOption },
  { weight: 3, arbitrary: anyCommand },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
);
const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 60 });

test('any words in any order and any pieces are answered alike or hung up on', () => {
  const exports = [memoryExport('vda', initial()), readOnlyExport('vdb', initial())];
  fc.assert(
    fc.property(fc.nat(4), fc.array(words, { maxLength: 12 }), sizes, (flags, said, cuts) => {
      const bytes = Buffer.concat([say.clientFlags(flags), ...said]);
      const whole = listen(exports, [bytes]);
      const pieces = listen(exports, cutInto(bytes, cuts));
      expect(pieces.sent.equals(whole.sent)).toBe(true);
      expect(pieces.asked).toEqual(whole.asked);
      expect(pieces.fault?.message).toBe(whole.fault?.message);
    }),
    { numRuns: 1000 },
  );
});

interface Step {
  readonly request: Request;
  readonly seed: number;
}
const step = fc.record({
  request: fc.record({
    command: fc.constantFrom(
      ...Object.values(COMMAND).filter((command) => command !== COMMAND.disconnect),
      99,
    ),
    flags: fc.constantFrom(0, 0, 0, ...Object.values(COMMAND_FLAG)),
    offset: fc.oneof(
      fc.nat(SIZE + 100),
      fc.nat(9).map((n) => n * 4096),
    ),
    length: fc.oneof(fc.nat(9000), fc.constantFrom(4096, 8192)),
  }),
  seed: fc.nat(100),
});

test('every request gets one reply, right in our client’s eyes, and the disk holds what was written', async () => {
  const check = async (
    steps: readonly Step[],
    structured: boolean,
    cuts: readonly number[],
  ): Promise<void> => {
    const model = initial();
    const served = memoryExport('vda', initial());
    const options = structured
      ? [
          say.option(OPTION.structuredReply),
          say.option(OPTION.setMetaContext, say.contextsAsked('vda', 'base:allocation')),
        ]
      : [];
    const asked = steps.map(({ request, seed }, handle) => {
      const header = Buffer.alloc(REQUEST_BYTES);
      encodeRequest(header, 0, handle, request);
      return Buffer.concat(
        request.command === COMMAND.write ? [header, patternedBytes(request.length, seed)] : [header],
      );
    });
    const said = Buffer.concat([
      say.clientFlags(),
      ...options,
      say.option(OPTION.go, say.infoAsked('vda')),
      ...asked,
    ]);
    const heard = listen([served], cutInto(said, cuts));
    expect(heard.fault).toBeUndefined();
    expect(heard.asked.map(({ asked: request }) => request)).toEqual(steps.map(({ request }) => request));

    for (const [handle, ask] of heard.asked.entries()) {
      const { reply, failure } = await perform(heard.agreement as Agreement, ask, Buffer.alloc);
      expect(failure).toBeUndefined();
      const seed = steps[handle]?.seed ?? 0;
      const target = new Uint8Array(ask.asked.length).fill(0xee);
      const pending = pendingOf(ask.asked, target);
      let settled: Transaction | undefined;
      const client = new Feed(
        replies({ get: (n) => (n === handle ? pending : undefined) }, structured),
        (effect) => {
          if ('settled' in effect) settled = effect.settled;
        },
      );
      client.start();
      for (const piece of cutInto(Buffer.concat(reply), cuts)) client.accept(piece);
      expect(settled, 'one reply, whole').toBe(pending);
      expect(client.isResting || client.result === undefined).toBe(true);
      if (pending.error !== undefined) continue;
      const { command, offset, length } = ask.asked;
      if (command === COMMAND.write) model.set(patternedBytes(length, seed), offset);
      if (command === COMMAND.trim || command === COMMAND.writeZeroes) model.fill(0, offset, offset + length);
      if (command === COMMAND.read)
        expect(Buffer.compare(target, model.subarray(offset, offset + length))).toBe(0);
      if (pending instanceof PendingStatus) {
        let at = offset;
        for (const run of pending.runs.get(ALLOCATION_ID) ?? []) {
          if (run.flags !== 0)
            expect(model.subarray(at, at + run.length).every((byte) => byte === 0)).toBe(true);
          at += run.length;
        }
        expect(at).toBeLessThanOrEqual(offset + length);
      }
    }
    expect(Buffer.compare(served.content, model)).toBe(0);
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), fc.boolean(), sizes, check),
    { numRuns: 300 },
  );
});

function pendingOf(request: Request, target: Uint8Array): Transaction {
  if (request.command === COMMAND.read) return new PendingRead(request, target);
  if (request.command === COMMAND.blockStatus) return new PendingStatus(request, new Set([ALLOCATION_ID]));
  return new PendingEffect(request);
}
