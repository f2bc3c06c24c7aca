/** The service as it is started, with a real log, a real NATS, and a host whose folder is not there when it starts. */
import { execFile } from 'node:child_process';
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, promisify } from 'node:util';
import { defaultPolicy, type Plan } from '@backhaul/contracts';
import { openHost } from '@backhaul/hypervisor';
import { derivedId, eventually, GiB, MiB } from '@backhaul/kernel';
import { ServiceProcess } from '@backhaul/local';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import { hostStream } from '@backhaul/pool';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

const run = promisify(execFile);
const milliseconds = 30_000;
let servers: TestMessaging;
let planner: TestService;
let directory: string;
let service: ServiceProcess;
let count = 0;

beforeAll(async () => {
  servers = await openTestMessaging();
  planner = await servers.connect('planner');
});
afterAll(() => servers?.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-pm-'));
  count += 1;
});
afterEach(async () => {
  await service?.stop();
  await letGo(`away${count}`, join(directory, 'not-mounted'));
  await rm(directory, { recursive: true, force: true });
});

const serviceWith = (hosts: string): ServiceProcess => {
  service = new ServiceProcess('proxy-manager', {
    main: fileURLToPath(new URL('./main.ts', import.meta.url)),
    logFile: join(directory, 'log'),
    readyFile: join(directory, 'ready.json'),
    environment: {
      BACKHAUL_POSTGRES_URL: servers.postgres.urlOf('proxy-manager'),
      BACKHAUL_NATS_URL: servers.nats.url,
      BACKHAUL_HOSTS: hosts,
      BACKHAUL_STATE_DIRECTORY: join(directory, 's'),
    },
  });
  return service;
};

/** Snapshots outlive the service that took them. */
async function letGo(hostId: string, address: string): Promise<void> {
  if (!existsSync(address)) return;
  const stateDirectory = join(directory, 's');
  const host = await openHost({ hostId, kind: 'directory', address, stateDirectory });
  for (const { snapshotId, vmId } of (await host.observe()).snapshots)
    await host.releaseSnapshot(snapshotId, vmId, 'discarded');
  await host.close();
}

/** A full of one disk, direct from the host. */
function planOf(hostId: string, sizeBytes: number): Plan {
  const backupId = derivedId('backup', hostId);
  const job = { childJobId: `${backupId}.vda.0`, diskId: 'vda', offset: 0, length: sizeBytes };
  return {
    ...{ backupId, hostId, vmId: 'vm1', parent: null, kind: 'full', mode: 'direct-to-host' },
    ...{ modeReason: 'test', priority: 'normal', askedAt: null, policy: defaultPolicy },
    disks: [
      {
        ...{ diskId: 'vda', sizeBytes, kind: 'full', kindReason: 'test' },
        ...{ bytesToRead: sizeBytes, childJobs: 1 },
      },
    ],
    childJobs: [{ ...job, estimatedBytes: sizeBytes }],
    arithmetic: {
      ...{ totalBytes: sizeBytes, childJobBytes: GiB, childJobs: 1, maxChildJobsPerProxy: 4 },
      ...{ maxPortsPerProxy: 4, portsPerChildJob: 1, capacityPerProxy: 4, thresholdShare: 1 },
    },
    ...{ proxiesCalculated: 0, proxies: 0, expectedShared: 0, waves: 1, limitedBy: [], rejected: [] },
  };
}

const ask = (hostId: string, sizeBytes: number) => {
  const plan = planOf(hostId, sizeBytes);
  return planner.append(`plan-${plan.backupId}`, { type: 'ProxiesCalculated', data: plan });
};

const seen = (hostId: string, type: string) =>
  eventually(`${type} at ${hostId}`, milliseconds, async () => {
    const { events } = await planner.store.readStreamPage(hostStream(hostId));
    return events.some((event) => event.type === type) || undefined;
  });

const readiness = async () => {
  const response = await fetch(`${service.url}/health/ready`);
  const body = (await response.json()) as { parts: Record<string, { ok: boolean; detail: string }> };
  return { status: response.status, parts: body.parts };
};

const logged = async (message: string): Promise<number> =>
  (await readFile(service.logFile, 'utf8')).split(message).length - 1;

test('a host that cannot be opened keeps no other from being worked at, says why, and is worked at once it can be', async () => {
  const [well, away] = [`well${count}`, `away${count}`];
  const address = join(directory, 'not-mounted');
  // The one that is away comes first: nothing may wait for it.
  await serviceWith(
    JSON.stringify([
      { hostId: away, kind: 'directory', address },
      { hostId: well, kind: 'simulated', address: '1' },
    ]),
  ).start();
  await Promise.all([ask(away, 4 * MiB), ask(well, GiB)]);
  await seen(well, 'PortsLeased');

  // What is asked of the other is taken, and waits.
  await seen(away, 'ActivationRequested');
  const refused = await eventually('the reason', milliseconds, async () => {
    const { status, parts } = await readiness();
    return parts[`host ${away}`]?.ok === false ? { status, parts } : undefined;
  });
  expect(refused).toEqual({
    status: 200,
    parts: {
      [`host ${away}`]: { ok: false, detail: expect.stringContaining(address) },
      [`host ${well}`]: { ok: true, detail: 'open' },
    },
  });
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  expect(metrics).toMatch(new RegExp(`backhaul_part_ok\\{part="host ${away}".*\\} 0`));
  expect(metrics).toMatch(new RegExp(`backhaul_part_ok\\{part="host ${well}".*\\} 1`));

  await makeImage(address);
  await seen(away, 'PortsLeased');
  expect((await readiness()).parts[`host ${away}`]).toEqual({ ok: true, detail: 'open' });
  expect(await logged('the host cannot be opened')).toBe(1);
});

async function makeImage(address: string): Promise<void> {
  await mkdir(join(address, 'vm1'), { recursive: true });
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', join(address, 'vm1', 'vda.qcow2'), '4M']);
}

test('a host whose file system hangs keeps no other from being worked at', async () => {
  const [well, hung] = [`away${count}`, `hung${count}`];
  // A file that is a pipe: each is opened by a thread of the process, which waits there for a writer.
  const pipes = Array.from({ length: 12 }, (_, number) =>
    join(directory, 's', hung, 'snapshots', derivedId('hung', `${number}`), 'snapshot.json'),
  );
  for (const pipe of pipes) {
    await mkdir(join(pipe, '..'), { recursive: true });
    await run('mkfifo', [pipe]);
  }
  const [address, empty] = [join(directory, 'not-mounted'), join(directory, 'empty')];
  await Promise.all([makeImage(address), mkdir(empty)]);
  try {
    await serviceWith(
      JSON.stringify([
        { hostId: hung, kind: 'directory', address: empty },
        { hostId: well, kind: 'directory', address },
      ]),
    ).start();
    const open = { ok: true, detail: 'open' };
    await eventually(
      'both to be open',
      milliseconds,
      async () =>
        isDeepStrictEqual((await readiness()).parts, { [`host ${hung}`]: open, [`host ${well}`]: open }) ||
        undefined,
    );
    const at = Date.now();
    await eventually('a look that hangs', milliseconds, () => Date.now() - at > 1_000 || undefined);
    await ask(well, 4 * MiB);
    await seen(well, 'PortsLeased');
  } finally {
    for (const pipe of pipes) write(pipe);
  }
});

/** Nothing: whoever waits for a writer has had one. */
function write(pipe: string): void {
  try {
    closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nobody waits.
  }
}

test('what is wrong in the configuration itself stops the start', async () => {
  const kind = 'cloud';
  const hosts = JSON.stringify([{ hostId: 'lab', kind, address: '/srv/images' }]);
  await expect(serviceWith(hosts).start()).rejects.toThrow(/BACKHAUL_HOSTS/);
  await expect(serviceWith('[{"hostId":').start()).rejects.toThrow(/BACKHAUL_HOSTS: is not JSON/);
});
