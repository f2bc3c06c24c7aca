import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InFlight, Operation } from './in-flight.ts';
import type { Piece } from './pieces.ts';
import { PendingEffect } from './protocol/transactions.ts';
import { COMMAND } from './protocol/values.ts';

const write = (length: number): Piece => ({
  transaction: new PendingEffect({ command: COMMAND.write, flags: 0, offset: 0, length }),
});
const nobody = { resolve: () => {}, reject: () => {} };

test('in whatever order answers and errors come, the window holds and every operation ends once, with nothing in flight', () => {
  const operations = fc.array(fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 8 }), {
    minLength: 1,
    maxLength: 6,
  });
  const window = fc.record({
    requests: fc.integer({ min: 1, max: 4 }),
    bytes: fc.integer({ min: 1, max: 40 }),
  });
  fc.assert(
    fc.property(operations, window, fc.infiniteStream(fc.nat(1000)), (lengths, limits, dice) => {
      const roll = (below: number): number => (dice.next().value as number) % below;
      const ended = new Map<Operation, number>();
      const flying = new Map<number, { piece: Piece; operation: number }>();
      const inFlight = new InFlight(limits, (operation) => {
        ended.set(operation, (ended.get(operation) ?? 0) + 1);
        const index = Number(operation.what);
        expect([...flying.values()].some((entry) => entry.operation === index)).toBe(false);
      });
      const owners = new Map<Piece, number>();
      const all = lengths.map((sizes, index) => {
        const pieces = sizes.map(write);
        for (const piece of pieces) owners.set(piece, index);
        return new Operation(String(index), pieces, nobody);
      });
      const failed = new Set<number>();
      let sentLast = 0;
      for (const operation of all) inFlight.enqueue(operation);
      for (;;) {
        for (let taken = inFlight.takeNext(); taken !== undefined; taken = inFlight.takeNext()) {
          const operation = owners.get(taken.piece) ?? -1;
          expect(flying.has(taken.handle)).toBe(false);
          expect(operation, 'first asked, first sent').toBeGreaterThanOrEqual(sentLast);
          expect(failed.has(operation), 'nothing more is sent after an error').toBe(false);
          sentLast = operation;
          flying.set(taken.handle, { piece: taken.piece, operation });
        }
        const bytes = [...flying.values()].reduce(
          (sum, { piece }) => sum + piece.transaction.request.length,
          0,
        );
        expect(flying.size).toBeLessThanOrEqual(limits.requests);
        if (flying.size > 1) expect(bytes).toBeLessThanOrEqual(limits.bytes);
        if (flying.size === 0) break;
        const [handle, entry] = [...flying][roll(flying.size)] ?? [0, undefined];
        if (entry !== undefined && roll(5) === 0) {
          entry.piece.transaction.reportError(5, '');
          failed.add(entry.operation);
        }
        flying.delete(handle);
        inFlight.settle(handle);
      }
      for (const operation of all) {
        expect(ended.get(operation)).toBe(1);
        expect(operation.error !== undefined).toBe(failed.has(Number(operation.what)));
      }
    }),
    { numRuns: 300 },
  );
});

test('pieces are cut only as they are sent, so a read of many terabytes holds no list', () => {
  let cut = 0;
  function* endless(): Generator<Piece> {
    for (;;) {
      cut += 1;
      yield write(10);
    }
  }
  const inFlight = new InFlight({ requests: 4, bytes: 1000 }, () => {});
  inFlight.enqueue(new Operation('endless', endless(), nobody));
  while (inFlight.takeNext() !== undefined);
  expect(inFlight.size).toBe(4);
  expect(cut).toBeLessThanOrEqual(5);
});
