/** The examples of docs/format.md are what the code writes: a document that is the contract must not drift. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Manifest, Segment } from '../repository.ts';
import { collected } from '../testing/collected.ts';
import { digestOf, encodeInPlace, plainBytes } from './chunk-file.ts';
import { decodeRepositoryFile, encodeManifest, encodeRepositoryFile } from './manifest.ts';
import { encodeSegmentMap } from './segment-map.ts';

const document = await readFile(join(import.meta.dirname, '../../../../docs/format.md'), 'utf8');
const blocks = [...document.matchAll(/```(?:json)?\n((?:.|\n)*?)```/g)].map((match) => match[1] ?? '');
const blockWith = (start: string): string => {
  const found = blocks.find((block) => block.startsWith(start));
  if (found === undefined) throw new Error(`docs/format.md has no example that starts with ${start}`);
  return found;
};
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** Bytes as the document writes them: `aa…aa` is a digest, and words after two spaces are a remark. */
const bytesOf = (block: string): string =>
  block
    .replaceAll(/([0-9a-f]{2})…\1/g, (_all, byte: string) => byte.repeat(32))
    .split('\n')
    .flatMap((line) => line.split(/ {2,}/).filter((part) => /^[0-9a-f ]+$/.test(part)))
    .join('')
    .replaceAll(' ', '');

test('the chunk file', () => {
  const plain = new Uint8Array(Buffer.from('hello, repository'));
  const file = bytesOf(blockWith('42484348'));
  const memory = Buffer.alloc(100);
  memory.set(plain, 16);
  expect(memory.toString('hex', 0, encodeInPlace(memory, plain.length, 1))).toBe(file);
  expect(plainBytes(new Uint8Array(Buffer.from(file, 'hex')), digestOf(plain))).toEqual(plain);
});

test('the segment map', async () => {
  async function* segments(): AsyncGenerator<Segment> {
    yield { offset: 0, length: 4096, digest: 'aa'.repeat(32), chunkOffset: 0 };
    yield { offset: 4096, length: 4096, digest: 'bb'.repeat(32), chunkOffset: 0 };
    yield { offset: 8192, length: 16_384, digest: null, chunkOffset: 0 };
    yield { offset: 24_576, length: 4096, digest: 'aa'.repeat(32), chunkOffset: 512 };
  }
  const written = Buffer.concat(await collected(encodeSegmentMap(28_672, segments())));
  expect(written.toString('hex')).toBe(bytesOf(blockWith('4248534d')));
});

test('the manifest and repository.json', () => {
  const manifest = blockWith('{\n  "backupId"');
  const { checksum: _, ...content } = JSON.parse(manifest);
  expect(text(encodeManifest(content as Manifest).bytes)).toBe(manifest);
  const file = blockWith('{\n  "createdAt"');
  expect(text(encodeRepositoryFile(decodeRepositoryFile(Buffer.from(file))))).toBe(file);
});
