/**
 * `npm run demo [-- --image FILE | --host qemu]`: the main job on a real disk image, or on a virtual machine that runs and through
 * proxies that are virtual machines; shown as it happens, and proved. Starts everything on free ports in a temporary folder, and
 * leaves no process and no file behind, also when it fails or is interrupted.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { backhaulClient } from '@backhaul/client';
import { type Event, type EventData, Policy } from '@backhaul/contracts';
import { describeError, Fault, formatBytes, MiB, refusalLine } from '@backhaul/kernel';
import { openRepository, restoreDisk } from '@backhaul/repository';
import { type Stack, startStack } from '../stack.ts';
import { areEqual } from './demo-image.ts';
import { type DemoSource, imageSource, runningVm } from './demo-source.ts';
import { narrate } from './narrate.ts';
import { type Moment, timeline } from './timeline.ts';

const run = promisify(execFile);
const HOST = 'this-machine';
const BACKUP_MILLISECONDS_MAX = 1_800_000;

const { values } = parseArgs({
  options: { image: { type: 'string' }, host: { type: 'string', default: 'directory' } },
});
if (!['directory', 'qemu'].includes(values.host) || (values.host === 'qemu' && values.image !== undefined)) {
  console.error('Use --host directory (with or without --image FILE) or --host qemu.');
  process.exit(2);
}
const directory = await mkdtemp(join(tmpdir(), 'backhaul-'));
let stack: Stack | undefined;
let source: DemoSource | undefined;
const leave = async (): Promise<void> => {
  await stack?.stop();
  await source?.close();
  await rm(directory, { recursive: true, force: true });
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void leave().finally(() => process.exit(130)));
}

try {
  await demo();
} catch (error) {
  console.error(`\nThe demo failed: ${describeError(error)}`);
  process.exitCode = 1;
} finally {
  await leave();
}

async function demo(): Promise<void> {
  say(values.host === 'qemu' ? '1. A source VM, and the appliance its proxies boot' : '1. A source disk');
  source = values.host === 'qemu' ? await runningVm(directory) : await imageSource(directory, values.image);
  console.log(`   ${source.made}`);

  say(
    '2. Everything starts: PostgreSQL, NATS, and trigger, planner, proxy-manager, ingest and console as processes',
  );
  const repository = join(directory, 'repository');
  stack = await startStack({
    directory,
    repository,
    hosts: [{ hostId: HOST, kind: source.kind, address: source.address }],
    applianceDirectory: source.applianceDirectory,
  });
  for (const [name, service] of stack.services)
    console.log(`   ${name.padEnd(14)} pid ${service.pid} ${service.url}`);
  await definePolicy(stack);

  say('3. A full: an upstream system publishes a request on NATS');
  const before = await source.hold('before');
  const full = await backup(stack, source);

  say('4. The guest writes, and asks for another backup: now an incremental');
  console.log(`   ${await source.change()}`);
  const after = await source.hold('after');
  const incremental = await backup(stack, source);

  say(
    '5. Both restore points, restored straight from the repository and compared with the source as it was, byte for byte',
  );
  await prove(repository, full.backupId, before);
  await prove(repository, incremental.backupId, after);

  say('In figures');
  figures('full', full);
  figures('incremental', incremental);
}

async function definePolicy({ consoleUrl, triggerUrl }: Stack): Promise<void> {
  // Small limits, so that a disk of a gigabyte shows what a disk of terabytes does: several proxies, and waves.
  const policy = {
    policyId: 'demo',
    childJobBytes: (values.host === 'qemu' ? 16 : 64) * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 64 * MiB,
    incrementalThresholdBytes: 64 * MiB,
    proxyIdleSeconds: 20,
  };
  const answer = await backhaulClient({ consoleUrl, triggerUrl }).definePolicy(Policy.parse(policy));
  if (!answer.ok) throw new Fault(refusalLine(answer.refusal));
}

type Completed = EventData<'BackupCompleted'> & { readonly seconds: number };

async function backup({ natsUrl, consoleUrl, triggerUrl }: Stack, from: DemoSource): Promise<Completed> {
  const upstream = fileURLToPath(new URL('./upstream-system.ts', import.meta.url));
  const begun = performance.now();
  const { stdout: backupId } = await run(process.execPath, [upstream, natsUrl, HOST, from.vmId, 'demo'], {
    timeout: 60_000,
  });
  const signal = AbortSignal.timeout(BACKUP_MILLISECONDS_MAX);
  let completed: Completed | undefined;
  const moments: Moment[] = [];
  for await (const recorded of backhaulClient({ consoleUrl, triggerUrl }).follow({
    backupId,
    after: 0,
    signal,
  })) {
    const event = { type: recorded.type, data: recorded.data } as Event;
    const seconds = (performance.now() - begun) / 1000;
    moments.push({ seconds, event });
    // The guest of a running VM was held only so that the instant is known to us as well.
    if (event.type === 'SnapshotTaken') await from.letGo();
    const line = narrate(event);
    if (line !== undefined) console.log(`   ${seconds.toFixed(2).padStart(6)} s  ${line}`);
    if (event.type === 'BackupCompleted') completed = { ...event.data, seconds };
    if (event.type === 'BackupFailed' || event.type === 'PlanRefused')
      throw new Fault(`The backup ended in ${event.type}`);
    if (event.type === 'RunClosed' && completed !== undefined) {
      for (const drawn of timeline(moments)) console.log(`   ${drawn}`);
      return completed;
    }
  }
  throw new Fault(`Backup ${backupId} did not end within ${BACKUP_MILLISECONDS_MAX / 60_000} minutes`);
}

async function prove(
  location: string,
  backupId: string,
  copies: Readonly<Record<string, string>>,
): Promise<void> {
  const repository = await openRepository({ location, create: false });
  try {
    const stored = await repository.readManifest(backupId);
    if (stored === undefined) throw new Fault(`The repository has no restore point ${backupId}`);
    const { manifest } = stored;
    if (manifest.disks.length !== Object.keys(copies).length)
      throw new Fault(`Restore point ${backupId} has ${manifest.disks.length} disks`);
    for (const { diskId, sizeBytes } of manifest.disks) {
      const target = join(directory, `${backupId}.restored`);
      const begun = performance.now();
      const { writtenBytes } = await restoreDisk({ repository, manifest, diskId, target });
      const seconds = (performance.now() - begun) / 1000;
      if (!(await areEqual(target, copies[diskId] ?? '')))
        throw new Fault(`Disk ${diskId} of restore point ${backupId} differs from its source`);
      await rm(target);
      console.log(
        `   ${manifest.kind.padEnd(12)} disk ${diskId} identical; ${formatBytes(writtenBytes)} written of ${formatBytes(sizeBytes)} in ${seconds.toFixed(1)} s (${rate(writtenBytes, seconds)})`,
      );
    }
  } finally {
    await repository.close();
  }
}

function figures(name: string, { totals, seconds, mode }: Completed): void {
  const saved = totals.readBytes === 0 ? 0 : 1 - totals.storedBytes / totals.readBytes;
  console.log(
    `   ${name.padEnd(12)} ${seconds.toFixed(1)} s by ${mode}: disk ${formatBytes(totals.diskBytes)}, read ${formatBytes(totals.readBytes)} (${rate(totals.readBytes, seconds)}), ` +
      `stored ${formatBytes(totals.storedBytes)} (${(saved * 100).toFixed(0)}% saved by compression and de-duplication), ${totals.newChunks} new of ${totals.chunks} chunks`,
  );
}

function rate(bytes: number, seconds: number): string {
  return `${formatBytes(bytes / Math.max(seconds, 0.001))}/s`;
}

function say(title: string): void {
  console.log(`\n${title}`);
}
