/** Processes are known by more than a number, and are seen gone before they are called gone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { endProcess, isRunning, markOf, type ProcessMark, processesNaming } from './processes.ts';

const started: (() => void)[] = [];
afterEach(() => {
  for (const end of started.splice(0)) end();
});

async function start(...command: [string, ...string[]]) {
  const [program, ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const mark = await markOf(child.pid ?? 0);
  if (mark === undefined) throw new Error(`${program} did not start`);
  return { child, mark };
}
const deaf = 'process.on("SIGTERM", () => {}); console.log("up"); setInterval(() => {}, 1000)';
const obedient = 'console.log("up"); setInterval(() => {}, 1000)';

describe('a process', () => {
  test('is ended when it obeys, and when it does not', async () => {
    for (const program of [obedient, deaf]) {
      const { mark } = await start(process.execPath, '-e', program);
      expect(await isRunning(mark)).toBe(true);
      await endProcess('the test process', mark, 300);
      expect(await isRunning(mark)).toBe(false);
      await endProcess('the test process', mark, 300);
    }
  });

  test('is another one when the same number was started at another time, and is left alone', async () => {
    const { mark } = await start(process.execPath, '-e', obedient);
    const before: ProcessMark = { ...mark, started: `${mark.started}1` };
    expect(await isRunning(before)).toBe(false);
    await endProcess('one that is long gone', before);
    expect(await isRunning(mark)).toBe(true);
  });

  test('is found by its program and an argument, and no other process that names the same', async () => {
    const token = `token-${process.pid}-${Date.now()}`;
    const { mark } = await start(process.execPath, '-e', obedient, `/some/path/${token}/x`);
    await start('sh', '-c', 'echo up; sleep 60; true', 'sh', token);
    expect(await processesNaming(process.execPath, token)).toEqual([mark]);
  });
});
