import { expect, test } from 'vitest';
import { type ArchiveEntry, writeCpio } from './cpio.ts';

const entries: ArchiveEntry[] = [
  { path: 'init', kind: 'file', executable: true, contents: Buffer.from('#!/bin/sh\n') },
  { path: 'bin/sh', kind: 'link', contents: Buffer.from('busybox') },
  { path: 'bin/busybox', kind: 'file', executable: true, contents: Buffer.from('abc') },
];

/** Reads back what the format says: names with modes, in order. */
function list(archive: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; ; ) {
    const field = (index: number) =>
      Number.parseInt(archive.toString('ascii', at + 6 + index * 8, at + 14 + index * 8), 16);
    expect(archive.toString('ascii', at, at + 6)).toBe('070701');
    const [mode, time, size, nameSize] = [field(1), field(5), field(6), field(11)];
    const name = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    if (name === 'TRAILER!!!') return found;
    expect(time).toBe(0);
    const start = Math.ceil((at + 110 + nameSize) / 4) * 4;
    found.push(`${name} ${mode.toString(8)} ${archive.toString('utf8', start, start + size)}`.trim());
    at = Math.ceil((start + size) / 4) * 4;
  }
}

test('an archive has its entries in order, and the folders on the way to them', () => {
  expect(list(writeCpio(entries))).toEqual([
    'bin 40755',
    'bin/busybox 100755 abc',
    'bin/sh 120755 busybox',
    'init 100755 #!/bin/sh',
  ]);
});

test('the order in which entries are given changes nothing', () => {
  expect(writeCpio([...entries].reverse()).equals(writeCpio(entries))).toBe(true);
});

test('two entries of one path are refused', () => {
  expect(() => writeCpio([...entries, ...entries.slice(0, 1)])).toThrow('init is there twice');
});
