import fc from 'fast-check';
import { expect, test } from 'vitest';
import { eventStreamParser, type StreamMessage } from './event-stream.ts';

const text =
  'retry: 1500\nid: 7\n\nid: 8\nevent: ChunkReceived\ndata: {"a":1}\n\n: still here\n\nid: 9\ndata: one\ndata: two\r\n\r\nignored: x\n\n';
const messages: StreamMessage[] = [
  { id: '8', event: 'ChunkReceived', data: '{"a":1}' },
  { id: '9', event: 'message', data: 'one\ntwo' },
];

test('messages come out whole, wherever the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: text.length }), { maxLength: 20 }), (cuts) => {
      const parser = eventStreamParser();
      const edges = [0, ...cuts.sort((a, b) => a - b), text.length];
      const seen = edges.flatMap((edge, index) =>
        parser.feed(text.slice(edge, edges[index + 1] ?? text.length)),
      );
      expect(seen).toEqual(messages);
    }),
  );
});

test('an id without data is remembered as the place to come back to', () => {
  const parser = eventStreamParser();
  expect(parser.feed('retry: 1000\nid: 42\n\n')).toEqual([]);
  expect([parser.lastId, parser.retryMilliseconds]).toEqual(['42', 1000]);
});

test('a message that was cut off before its empty line is not told', () => {
  const parser = eventStreamParser();
  expect(parser.feed('id: 1\ndata: half')).toEqual([]);
  expect(parser.lastId).toBe('1');
});
