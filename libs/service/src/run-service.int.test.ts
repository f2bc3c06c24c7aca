import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { earlierDatabase } from '@backhaul/event-store/testing';
import { derivedId, eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let directory: string;
const processes: ServiceProcess[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-service-'));
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map((each) => each.end('SIGKILL')));
});
afterAll(async () => {
  await servers?.close();
  await rm(directory, { recursive: true, force: true });
});

interface ServiceProcess {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** The log line with this message, once it is there. */
  line(message: string): Promise<Record<string, unknown>>;
  port(): Promise<number>;
  /** The exit code; null when it was killed. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

let count = 0;
function run(environment: NodeJS.ProcessEnv = {}): ServiceProcess {
  count += 1;
  const readyFile = join(directory, `ready-${count}`);
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('./small-service.fixture.ts', import.meta.url))],
    {
      env: {
        PATH: process.env.PATH,
        BACKHAUL_POSTGRES_URL: servers.postgres.urlOf('planner'),
        BACKHAUL_NATS_URL: servers.nats.url,
        BACKHAUL_READY_FILE: readyFile,
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const exited = once(child, 'exit');
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.on('data', (data: Buffer) => {
      const parts = (rest + String(data)).split('\n');
      rest = parts.pop() ?? '';
      lines.push(...parts);
    });
  }
  const service: ServiceProcess = {
    child,
    lines,
    line: (message) =>
      eventually(`the log line "${message}"`, 20_000, () => {
        const found = lines.find((line) => line.includes(`"msg":"${message}"`));
        return found === undefined ? undefined : JSON.parse(found);
      }),
    port: () =>
      eventually('the ready file', 20_000, async () => {
        if (!existsSync(readyFile)) return undefined;
        const announced = JSON.parse(await readFile(readyFile, 'utf8'));
        expect(announced.pid).toBe(child.pid);
        return announced.port;
      }),
    async end(signal) {
      if (signal !== undefined && child.exitCode === null) child.kill(signal);
      await exited;
      return child.exitCode;
    },
  };
  processes.push(service);
  return service;
}

const get = async (
  port: number,
  path: string,
  init?: RequestInit,
): Promise<{ status: number; text: string }> => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
  return { status: response.status, text: await response.text() };
};

const plansOf = async (backup: string): Promise<number> =>
  (await trigger.store.readLog(0, { types: ['PlanRefused'], correlation: derivedId('backup', backup) }))
    .events.length;

const claim = (backup: string, vmId = 'web-1') =>
  trigger.append(`vm-h1.${vmId}`, {
    type: 'VmClaimed',
    data: { hostId: 'h1', vmId, runId: derivedId('backup', backup) },
  });

test('a wrong configuration stops the start with 78 and one line per variable, without its value', async () => {
  const service = run({
    BACKHAUL_POSTGRES_URL: 'mysql://hunter2@db',
    BACKHAUL_NATS_URL: undefined,
    BACKHAUL_TEST_NUMBER: '12',
  });
  expect(await service.end()).toBe(78);
  await eventually('three lines', 5_000, () => service.lines.length >= 3 || undefined);
  expect(service.lines).toEqual([
    expect.stringMatching(/^BACKHAUL_POSTGRES_URL: must be a URL of PostgreSQL, for example postgresql:/),
    'BACKHAUL_NATS_URL: is not set, for example nats://127.0.0.1:4222',
    'BACKHAUL_TEST_NUMBER: must be a whole number from 1 to 9, for example 5',
  ]);
  expect(service.lines.join()).not.toContain('hunter2');
});

test('a database that went back to an earlier state ends the service with 70 and the reason', async () => {
  const database = await servers.postgres.openDatabase('earlier');
  const { remember, putBack } = earlierDatabase(servers.postgres.adminUrl, 'earlier');
  const writer = await database.store('trigger');
  const claimed = async (vmId: string): Promise<void> => {
    const data = { hostId: 'h1', vmId, runId: derivedId('backup', vmId) };
    await writer.append(
      [{ stream: `vm-h1.${vmId}`, expected: 'none', events: [{ type: 'VmClaimed', data }] }],
      {
        commandId: derivedId('test', vmId),
        metadata: { correlation: data.runId, causation: data.runId, actor: 'trigger' },
      },
    );
  };
  await claimed('web-1');
  await remember();
  const service = run({ BACKHAUL_POSTGRES_URL: database.urlOf('planner') });
  const port = await service.port();
  await eventually('an append on a new connection', 10_000, () =>
    claimed('web-2').then(
      () => true,
      () => undefined,
    ),
  );
  await eventually('the service to have looked since', 10_000, async () => {
    const { text } = await get(port, '/health/ready');
    return /at position 2\b/.test(text) ? true : undefined;
  });
  await putBack();
  expect(await service.end()).toBe(70);
  expect(JSON.stringify(await service.line('an exception that nobody caught'))).toContain(
    'The log went back',
  );
  await database.close();
});

test('a service that others than its machine can reach does not start without a token', async () => {
  const service = run({ BACKHAUL_HTTP_HOST: '0.0.0.0' });
  expect(await service.end()).toBe(78);
  await eventually('a line', 5_000, () => service.lines.length >= 1 || undefined);
  expect(service.lines).toEqual([
    expect.stringMatching(/^BACKHAUL_API_TOKEN: is not set, and BACKHAUL_HTTP_HOST=0.0.0.0 is open/),
  ]);
});

test('what a service is asked has to carry its token and come from no other page; health and metrics are open', async () => {
  const token = 'a-token-of-this-test';
  const service = run({ BACKHAUL_HTTP_HOST: '0.0.0.0', BACKHAUL_API_TOKEN: token });
  const port = await service.port();
  await service.line('listening');
  const known = { authorization: `Bearer ${token}` };
  for (const path of ['/number', '/nothing', '//number', '/metricsx/../number'])
    expect([path, (await get(port, path)).status]).toEqual([path, 401]);
  expect(await get(port, '/number', { headers: known })).toEqual({ status: 200, text: '{"number":1}' });
  const page = await get(port, '/number', { headers: { ...known, origin: 'https://evil.example' } });
  expect([page.status, JSON.parse(page.text).code]).toEqual([403, 'ForeignPage']);
  const text = { method: 'POST', headers: { ...known, 'content-type': 'text/plain' }, body: '{}' };
  expect((await get(port, '/number', text)).status).toBe(415);
  for (const path of ['/health/live', '/health/ready', '/metrics'])
    expect([path, (await get(port, path)).status]).toEqual([path, 200]);
  expect(service.lines.join()).not.toContain(token);
  expect(await service.end('SIGTERM')).toBe(0);
});

test('a started service says where it listens, is ready, counts, serves its routes, and ends with 0', async () => {
  const service = run();
  const port = await service.port();
  expect(await service.line('listening')).toMatchObject({
    port,
    service: 'planner',
    instance: expect.any(String),
  });
  await claim('counted');
  await eventually('the event to be handled', 10_000, async () => (await plansOf('counted')) || undefined);
  expect(await service.line('handling')).toMatchObject({ correlation: 'vm-h1.web-1' });

  expect(await get(port, '/health/live')).toMatchObject({ status: 200 });
  const ready = await get(port, '/health/ready');
  expect([ready.status, JSON.parse(ready.text)]).toEqual([
    200,
    {
      ready: true,
      phase: 'running',
      checks: {
        postgres: { ok: true, detail: 'reachable' },
        nats: { ok: true, detail: expect.stringContaining('connected') },
        relay: { ok: true, detail: expect.stringContaining('behind') },
      },
      parts: { shelf: { ok: false, detail: 'empty' } },
    },
  ]);
  expect(await get(port, '/number')).toEqual({ status: 200, text: '{"number":1}' });
  expect((await get(port, '/nothing')).status).toBe(404);
  const { text } = await get(port, '/metrics');
  for (const line of [
    /^backhaul_events_appended_total\{type="PlanRefused",service="planner"\} 1$/m,
    /^backhaul_messages_total\{consumer="planner__refuse",outcome="handled",service="planner"\} 1$/m,
    /^backhaul_part_ok\{part="shelf",service="planner"\} 0$/m,
    /^backhaul_relay_lag_seconds\{service="planner"\} [0-9.]+$/m,
    /^nodejs_eventloop_lag_p99_seconds\{/m,
  ])
    expect(text).toMatch(line);

  expect(await service.end('SIGTERM')).toBe(0);
  await service.line('gave back a thing of its own');
  await service.line('stopped');
});

test('a service that is told to stop while a handler is at work finishes it first', async () => {
  const gate = join(directory, 'gate-term');
  const service = run({ BACKHAUL_TEST_GATE: gate });
  const port = await service.port();
  await claim('stopped');
  await eventually('the handler to be at work', 20_000, () => existsSync(gate) || undefined);
  expect((await stat(gate)).mode & 0o777).toBe(0o600);
  service.child.kill('SIGTERM');
  await service.line('stopping');
  expect(await get(port, '/health/ready')).toMatchObject({
    status: 503,
    text: expect.stringContaining('stopping'),
  });
  const late = await get(port, '/number');
  expect([late.status, JSON.parse(late.text)]).toMatchObject([503, { status: 503, code: 'NotReady' }]);
  expect(await plansOf('stopped')).toBe(0);
  await writeFile(`${gate}.go`, '');
  expect(await service.end()).toBe(0);
  expect(await plansOf('stopped')).toBe(1);
});

test('a handler that was cut off by a kill is run again by the next process, and takes effect once', async () => {
  const gate = join(directory, 'gate-kill');
  const first = run({ BACKHAUL_TEST_GATE: gate, BACKHAUL_UMASK: '027' });
  await claim('killed');
  await eventually('the handler to be at work', 20_000, () => existsSync(gate) || undefined);
  // Who shares what a service writes with a group says so.
  expect((await stat(gate)).mode & 0o777).toBe(0o640);
  expect(await first.end('SIGKILL')).toBe(null);
  expect(await plansOf('killed')).toBe(0);
  await writeFile(`${gate}.go`, '');
  const second = run({ BACKHAUL_TEST_GATE: gate });
  await eventually('the event to be handled', 30_000, async () => (await plansOf('killed')) || undefined);
  expect(await second.end('SIGTERM')).toBe(0);
  expect(await plansOf('killed')).toBe(1);
});

test.each([
  ['when it is told a second time', { BACKHAUL_SHUTDOWN_SECONDS: '60' }, true],
  ['when the time is up', { BACKHAUL_SHUTDOWN_SECONDS: '1' }, false],
])(
  'a stop that does not come to its end is given up %s, and says what was open',
  async (_, environment, twice) => {
    const gate = join(directory, `gate-stuck-${twice}`);
    const service = run({ BACKHAUL_TEST_GATE: gate, ...environment });
    await claim(`stuck-${twice}`);
    await eventually('the handler to be at work', 20_000, () => existsSync(gate) || undefined);
    service.child.kill('SIGTERM');
    await service.line('stopping');
    if (twice) service.child.kill('SIGINT');
    expect(await service.end()).toBe(1);
    expect((await service.line('stopped with something still open')).open).toContain('consumers');

    // What it held is not lost: the next process takes it.
    await writeFile(`${gate}.go`, '');
    const next = run({ BACKHAUL_TEST_GATE: gate });
    await eventually(
      'the event to be handled',
      30_000,
      async () => (await plansOf(`stuck-${twice}`)) || undefined,
    );
    await next.end('SIGTERM');
  },
);

test('a service whose servers are away waits, says so, and can be stopped while it waits', async () => {
  const service = run({
    BACKHAUL_POSTGRES_URL: 'postgresql://backhaul_planner:x@127.0.0.1:1/none',
    BACKHAUL_HTTP_PORT: '0',
  });
  expect((await service.line('waiting for PostgreSQL')).error).toContain('ECONNREFUSED');
  expect(await service.end('SIGTERM')).toBe(0);

  const other = run({ BACKHAUL_NATS_URL: 'nats://127.0.0.1:1' });
  expect((await other.line('waiting for NATS')).error).toContain('cannot be reached');
  expect(await other.end('SIGTERM')).toBe(0);
});

test('of two instances one is in charge of a singleton, and the other when that one is killed', async () => {
  const first = run();
  await first.line('in charge of only-one');
  const second = run();
  await second.port();
  expect(second.lines.some((line) => line.includes('in charge of only-one'))).toBe(false);
  await first.end('SIGKILL');
  await second.line('in charge of only-one');
  expect(await second.end('SIGTERM')).toBe(0);
});

test('an invariant that fails ends the process with 70 and the reason', async () => {
  const service = run();
  await service.port();
  await claim('impossible', 'impossible');
  expect(await service.end()).toBe(70);
  expect(await service.line('an invariant failed in a handler')).toMatchObject({
    level: 60,
    error: 'a VM is never called impossible',
  });
});
