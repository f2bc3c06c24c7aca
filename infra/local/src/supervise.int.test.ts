import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ServiceProcess } from './service-process.ts';
import { supervise } from './supervise.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-supervise-'));
});
const services: ServiceProcess[] = [];
afterAll(async () => {
  await Promise.all(services.map((each) => each.kill()));
  await rm(directory, { recursive: true, force: true });
});

/** A process that is ready, notes that it was started, and ends when the test says with what. */
async function service(name: string) {
  const [main, starts, end] = ['mjs', 'starts', 'end'].map((kind) => join(directory, `${name}.${kind}`)) as [
    string,
    string,
    string,
  ];
  const program = `
    import { appendFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
    appendFileSync(${JSON.stringify(starts)}, Date.now() + '\\n');
    const ready = process.env.BACKHAUL_READY_FILE;
    writeFileSync(ready + '.new', JSON.stringify({ pid: process.pid, port: 1 }));
    renameSync(ready + '.new', ready);
    setInterval(() => {
      if (!existsSync(${JSON.stringify(end)})) return;
      const code = Number(readFileSync(${JSON.stringify(end)}, 'utf8'));
      if (code === 0) return;
      rmSync(${JSON.stringify(end)});
      console.log(JSON.stringify({ msg: 'something broke', error: 'the reason' }));
      process.exit(code);
    }, 5);`;
  await writeFile(main, program);
  const own = new ServiceProcess(name, {
    main,
    environment: {},
    logFile: join(directory, `${name}.log`),
    readyFile: join(directory, `${name}.ready`),
  });
  services.push(own);
  await own.start();
  const startsOf = async (): Promise<number[]> =>
    (await readFile(starts, 'utf8')).trim().split('\n').map(Number);
  return {
    own,
    startsOf,
    started: (times: number) =>
      eventually(`${times} starts`, 15_000, async () =>
        (await startsOf()).length >= times ? true : undefined,
      ),
    end: (code: number) => writeFile(end, String(code)),
  };
}

test('a service whose configuration is wrong is left down, and that is said', async () => {
  const { own, end, startsOf } = await service('wrong');
  const said: string[] = [];
  const supervised = supervise(own, { stopping: () => false, say: (line) => said.push(line) });
  await end(78);
  await supervised;
  expect(await startsOf()).toHaveLength(1);
  expect(said).toEqual([
    expect.stringMatching(
      /^Service wrong stays down, .*\(78\): something broke: the reason \(.*wrong\.log\)$/,
    ),
  ]);
});

test('one that gives up is started again, later each time, with its reason; one that is killed at once', async () => {
  const { own, end, started, startsOf } = await service('broken');
  const said: string[] = [];
  let stopping = false;
  const supervised = supervise(own, {
    stopping: () => stopping,
    say: (line) => {
      if (line.includes('ended with')) said.push(line);
    },
    firstMilliseconds: 100,
  });
  for (const times of [2, 3, 4]) {
    await end(70);
    await started(times);
  }
  expect(said).toEqual(
    ['0.1', '0.2', '0.4'].map((seconds) =>
      expect.stringContaining(
        `ended with 70 and is started again in ${seconds} s: something broke: the reason`,
      ),
    ),
  );
  const times = await startsOf();
  expect((times[3] ?? 0) - (times[2] ?? 0)).toBeGreaterThan(400);
  await eventually('the new process', 5_000, () => (own.pid > 0 ? true : undefined));
  await own.kill();
  await started(5);
  expect(said).toHaveLength(3);
  stopping = true;
  await own.stop();
  await supervised;
});
