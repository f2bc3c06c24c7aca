import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { ChunkMemory, HeldSlot } from './chunk-memory.ts';

test('never more buffers are out than there are, and who waits is served in the order of coming', async () => {
  const memory = new ChunkMemory(2);
  const [one, two] = [await memory.take(), await memory.take()];
  const served: number[] = [];
  const waiting = [1, 2, 3].map((n) =>
    memory.take().then((buffer) => {
      served.push(n);
      return buffer;
    }),
  );
  await Promise.resolve();
  expect(served).toEqual([]);
  one.release();
  const first = await waiting[0];
  two.release();
  await waiting[1];
  expect(served).toEqual([1, 2]);
  first?.release();
  await waiting[2];
  expect(served).toEqual([1, 2, 3]);
});

test('buffers do not overlap, and a chunk file fits in each with room to the end of a page', async () => {
  const memory = new ChunkMemory(3);
  const slots = [await memory.take(), await memory.take(), await memory.take()];
  for (const [n, slot] of slots.entries()) slot.file.fill(n + 1);
  for (const [n, slot] of slots.entries()) {
    expect(slot.bytes.length).toBe(4 * MiB);
    expect(slot.file.byteOffset % 4096).toBe(0);
    expect(slot.file.length % 4096).toBe(0);
    expect(slot.bytes.byteOffset - slot.file.byteOffset).toBe(16);
    expect([slot.file.at(0), slot.file.at(-1)]).toEqual([n + 1, n + 1]);
  }
});

test('given back twice is a mistake that is found at once', async () => {
  const memory = new ChunkMemory(1);
  const buffer = await memory.take();
  buffer.release();
  expect(() => buffer.release()).toThrow('given back once');
});

test('a chunk that was let go can be had again until the memory is needed, and the longest ago goes first', async () => {
  const memory = new ChunkMemory(3);
  const [one, two] = [await memory.take(), await memory.take()].map((slot) => new HeldSlot(memory, slot, 10));
  one?.release();
  two?.release();
  expect(() => one?.release()).toThrow('let go once');
  expect(one?.retake()).toBe(true);
  expect(() => one?.retake()).toThrow('cannot be held again');
  one?.release();
  const [, needed] = [await memory.take(), await memory.take()];
  expect(needed).toBe(two?.slot);
  expect([one?.retake(), two?.retake()]).toEqual([true, false]);
  const waiting = memory.take();
  one?.release();
  expect(await waiting).toBe(one?.slot);
  expect([one?.slot.isTaken, one?.retake()]).toEqual([true, false]);
});

test('closing ends the waiting', async () => {
  const memory = new ChunkMemory(1);
  await memory.take();
  const waiting = memory.take();
  memory.close();
  await expect(waiting).rejects.toThrow('closed');
  await expect(memory.take()).rejects.toThrow('closed');
});
