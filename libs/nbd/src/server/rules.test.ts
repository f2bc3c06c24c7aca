import { describe, expect, test } from 'vitest';
import type { Request } from '../protocol/requests.ts';
import { COMMAND, COMMAND_FLAG } from '../protocol/values.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import type { NbdExport } from './export.ts';
import { refusalOf } from './rules.ts';

const SIZE = 10_000;
const writable = memoryExport('vda', new Uint8Array(SIZE));
const readable = readOnlyExport('vda', new Uint8Array(SIZE));

function codeFor(served: NbdExport, asked: Partial<Request>, structured = true): string | undefined {
  const request = { command: COMMAND.read, flags: 0, offset: 0, length: 512, ...asked };
  return refusalOf({ served, structured, allocation: structured }, { asked: request, cookie: 1n })?.code;
}
const { read, write, flush, trim, cache, writeZeroes, blockStatus } = COMMAND;
const { fua, noHole, df, reqOne, fastZero } = COMMAND_FLAG;

test('what an export offers is performed, up to its last byte', () => {
  for (const command of [read, write, trim, cache, writeZeroes, blockStatus])
    expect(codeFor(writable, { command, offset: SIZE - 512 })).toBeUndefined();
  expect(codeFor(writable, { command: flush, length: 0 })).toBeUndefined();
  for (const command of [read, blockStatus]) expect(codeFor(readable, { command })).toBeUndefined();
  expect(codeFor(writable, { command: write, flags: fua })).toBeUndefined();
  expect(codeFor(writable, { command: writeZeroes, flags: fua | noHole | fastZero })).toBeUndefined();
  expect(codeFor(writable, { command: read, flags: df })).toBeUndefined();
  expect(codeFor(writable, { command: blockStatus, flags: reqOne })).toBeUndefined();
});

describe('what a client gets wrong has the answer that the protocol asks for', () => {
  const slow = memoryExport('vda', new Uint8Array(SIZE), { zeroesAreFast: false });
  const bare = readOnlyExport('vda', new Uint8Array(SIZE), { readOnly: false });
  const coarse = memoryExport('vda', new Uint8Array(SIZE), {
    blockSize: { minimum: 4096, preferred: 4096, maximumPayload: 8192 },
  });
  test.each([
    ['a read beyond the end', writable, { offset: SIZE - 511 }, 'EINVAL'],
    ['a read far beyond any disk', writable, { offset: 2 ** 63 }, 'EINVAL'],
    ['a write beyond the end', writable, { command: write, offset: SIZE - 511 }, 'ENOSPC'],
    ['zeroing beyond the end', writable, { command: writeZeroes, offset: SIZE }, 'ENOSPC'],
    ['trimming beyond the end', writable, { command: trim, offset: SIZE }, 'EINVAL'],
    ['no bytes', writable, { length: 0 }, 'EINVAL'],
    ['more than one request may carry', coarse, { length: 8193 }, 'EOVERFLOW'],
    ['a write to what is read-only', readable, { command: write }, 'EPERM'],
    ['zeroing what is read-only', readable, { command: writeZeroes }, 'EPERM'],
    ['trimming what is read-only', readable, { command: trim }, 'EPERM'],
    ['a flush where none is offered', readable, { command: flush, length: 0 }, 'EINVAL'],
    ['a write where none is offered', bare, { command: write }, 'EINVAL'],
    ['a command of another age', writable, { command: 8 }, 'EINVAL'],
    ['a flag of another age', writable, { flags: 1 << 9 }, 'EINVAL'],
    ['a flag of another command', writable, { command: write, flags: reqOne }, 'EINVAL'],
    ['FUA without a flush', bare, { flags: fua }, 'EINVAL'],
    ['fast zeroes where they are not fast', slow, { command: writeZeroes, flags: fastZero }, 'EINVAL'],
    ['a flush with a length', writable, { command: flush, length: 1 }, 'EINVAL'],
    ['off the blocks', coarse, { offset: 512, length: 4096 }, 'EINVAL'],
    ['half a block', coarse, { offset: 0, length: 512 }, 'EINVAL'],
  ] as const)('%s', (_, served, asked, code) => {
    expect(codeFor(served, asked)).toBe(code);
  });

  test('what was not agreed on cannot be asked', () => {
    expect(codeFor(writable, { command: blockStatus }, false)).toBe('EINVAL');
    expect(codeFor(writable, { flags: df }, false)).toBe('EINVAL');
  });

  test('the last block of a disk may be a part of one', () => {
    expect(codeFor(coarse, { offset: 8192, length: SIZE - 8192 })).toBeUndefined();
  });
});
