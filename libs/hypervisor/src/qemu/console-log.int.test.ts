/** The console of a guest that says more than anybody will read. */
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  boundConsole,
  CONSOLE_BYTES_MAX,
  consoleOf,
  lastWordsOf,
  oldConsoleOf,
  type QemuProcess,
} from './qemu-process.ts';

let vm: QemuProcess;
beforeEach(async () => {
  vm = { what: 'VM web', folder: await mkdtemp(join(tmpdir(), 'bh-console-')) };
});
afterEach(() => rm(vm.folder, { recursive: true, force: true }));

const line = (number: number): string => `${String(number).padStart(31)}\n`;
const LINES = CONSOLE_BYTES_MAX / line(0).length;

test('what is kept of a console is bounded, ends with what was said last, and QEMU goes on writing to the same file', async () => {
  await boundConsole(vm);
  // As QEMU has it open.
  await using guest = await open(consoleOf(vm), 'a');
  let said = 0;
  const say = async (lines: number): Promise<void> => {
    await guest.write(Array.from({ length: lines }, (_, index) => line(said + index)).join(''));
    said += lines;
  };
  await say(LINES);
  await boundConsole(vm);
  expect((await stat(consoleOf(vm))).size).toBe(CONSOLE_BYTES_MAX);
  for (let round = 0; round < 3; round += 1) {
    await say(2 * LINES + 7);
    await boundConsole(vm);
    expect((await stat(consoleOf(vm))).size).toBe(0);
    await say(1);
    const kept = (await readFile(oldConsoleOf(vm), 'utf8')) + (await readFile(consoleOf(vm), 'utf8'));
    expect(kept).toBe(
      Array.from({ length: LINES + 1 }, (_, index) => line(said - LINES - 1 + index)).join(''),
    );
    expect(await lastWordsOf(vm)).toContain(`${said - 2}\n`);
  }
});
