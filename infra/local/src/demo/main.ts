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
import { type Event, type EventData, Policy, type Purpose } from '@backhaul/contracts';
import { describeError, Fault, formatBytes, MiB, refusalLine } from '@backhaul/kernel';
import { openRepository, restoreDisk } from '@backhaul/repository';
import { type Stack, startStack } from '../stack.ts';
import { areEqual } from './demo-image.ts';
import { type DemoSource, imageSource, runningVm } from './demo-source.ts';
import { narrate } from './narrate.ts';
import { type Moment, timeline } from './timeline.ts';

const run = promisify(execFile);
const HOST = 'this-machine';
const RECOVERED_VM = 'web-2';
const RUN_MILLISECONDS_MAX = 1_800_000;
const ENDS: readonly string[] = ['BackupCompleted', 'RecoveryCompleted'];

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
    '2. Everything starts: PostgreSQL, NATS, and trigger, planner, proxy-manager, ingest, export and console as processes',
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

  say(
    '6. The way back: a second VM is made of the newest restore point, while the source is backed up again. Proxies serve both',
  );
  const recovery = await recoverBesideBackup(stack, source, incremental.backupId);
  await proveRecovered(source, after);

  say('In figures');
  figures('full', full);
  figures('incremental', incremental);
  const { totals, mode, seconds } = recovery;
  console.log(
    `   ${'recovery'.padEnd(12)} ${seconds.toFixed(1)} s by ${mode}: disk ${formatBytes(totals.diskBytes)}, written ${formatBytes(totals.writtenBytes)} (${rate(totals.writtenBytes, seconds)}), ` +
      `read back and compared ${formatBytes(totals.verifiedBytes)}`,
  );
}

async function definePolicy(running: Stack): Promise<void> {
  // Small limits, so that a disk of a gigabyte shows what a disk of terabytes does: several proxies, and waves.
  const policy = {
    policyId: 'demo',
    childJobBytes: (values.host === 'qemu' ? 16 : 48) * MiB,
    maxPortsPerProxy: 4,
    maxChildJobsPerProxy: 4,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 64 * MiB,
    incrementalThresholdBytes: 64 * MiB,
    recoveryThresholdBytes: 64 * MiB,
    proxyIdleSeconds: 20,
  };
  const answer = await backhaulClient(running).definePolicy(Policy.parse(policy));
  if (!answer.ok) throw new Fault(refusalLine(answer.refusal));
}

type Completed = EventData<'BackupCompleted'> & { readonly seconds: number };
type Recovered = EventData<'RecoveryCompleted'> & { readonly seconds: number };

async function backup(running: Stack, from: DemoSource): Promise<Completed> {
  const moments: Moment[] = [];
  const completed = await followBackup(running, from, moments);
  for (const drawn of timeline(moments)) console.log(`   ${drawn}`);
  return completed;
}

async function followBackup(
  running: Stack,
  from: DemoSource,
  moments: Moment[],
  begun = performance.now(),
): Promise<Completed> {
  const request = { host: HOST, vm: from.vmId, policy: 'demo' };
  const runId = await publish(running, 'backup', request);
  let completed: Completed | undefined;
  for await (const { event, seconds } of story(running, { backupId: runId }, moments, begun)) {
    // The guest of a running VM was held only so that the instant is known to us as well.
    if (event.type === 'SnapshotTaken') await from.letGo();
    if (event.type === 'BackupCompleted') completed = { ...event.data, seconds };
    if (event.type === 'BackupFailed' || event.type === 'PlanRefused')
      throw new Fault(`The backup ended in ${event.type}`);
  }
  if (completed === undefined) throw new Fault(`Backup ${runId} was closed without an end`);
  return completed;
}

async function recoverBesideBackup(running: Stack, from: DemoSource, backupId: string): Promise<Recovered> {
  const begun = performance.now();
  const moments: Moment[] = [];
  const request = { backup: backupId, host: HOST, vm: RECOVERED_VM, policy: 'demo' };
  const besides = publish(running, 'backup', { host: HOST, vm: from.vmId, policy: 'demo', kind: 'full' });
  const runId = await publish(running, 'recovery', request);
  const beside = besides.then(async (id) => {
    for await (const _ of story(running, { backupId: id }, moments, begun, '(backup)   '));
  });
  let recovered: Recovered | undefined;
  for await (const { event, seconds } of story(
    running,
    { recoveryId: runId },
    moments,
    begun,
    '(recovery) ',
  )) {
    if (event.type === 'RecoveryCompleted') recovered = { ...event.data, seconds };
    if (event.type === 'RecoveryFailed' || event.type === 'RecoveryPlanRefused')
      throw new Fault(`The recovery ended in ${event.type}`);
  }
  await beside;
  if (recovered === undefined) throw new Fault(`Recovery ${runId} was closed without an end`);
  moments.sort((one, other) => one.seconds - other.seconds);
  for (const drawn of timeline(moments)) console.log(`   ${drawn}`);
  return recovered;
}

async function publish({ natsUrl }: Stack, purpose: Purpose, request: object): Promise<string> {
  const upstream = fileURLToPath(new URL('./upstream-system.ts', import.meta.url));
  const args = [upstream, purpose, JSON.stringify(request)];
  const env = { ...process.env, NATS_URL: natsUrl };
  return (await run(process.execPath, args, { timeout: 60_000, env })).stdout;
}

/** Events of a run as they come, told and noted, until it has an end and has given everything back. */
async function* story(
  running: Stack,
  run: { readonly backupId: string } | { readonly recoveryId: string },
  moments: Moment[],
  begun: number,
  label = '',
): AsyncGenerator<Moment> {
  const signal = AbortSignal.timeout(RUN_MILLISECONDS_MAX);
  const facts = { ended: false, closed: false };
  for await (const recorded of backhaulClient(running).follow({
    ...run,
    after: 0,
    signal,
  })) {
    const moment: Moment = {
      event: { type: recorded.type, data: recorded.data } as Event,
      seconds: (performance.now() - begun) / 1000,
    };
    moments.push(moment);
    const line = narrate(moment.event);
    if (line !== undefined) console.log(`   ${moment.seconds.toFixed(2).padStart(6)} s  ${label}${line}`);
    yield moment;
    facts.ended ||= ENDS.includes(moment.event.type);
    facts.closed ||= moment.event.type === 'RunClosed';
    if (facts.ended && facts.closed) return;
  }
  throw new Fault(`${Object.values(run)} did not end within ${RUN_MILLISECONDS_MAX / 60_000} minutes`);
}

async function proveRecovered(from: DemoSource, copies: Readonly<Record<string, string>>): Promise<void> {
  for (const [diskId, copy] of Object.entries(copies)) {
    const image = from.recoveredDisk(RECOVERED_VM, diskId);
    if (!(await areEqual(image, copy, 'qcow2')))
      throw new Fault(`Disk ${diskId} of the recovered VM differs from its source`);
    const { stdout } = await run('qemu-img', ['info', '--output=json', image]);
    const { 'actual-size': fileBytes, 'virtual-size': diskBytes } = JSON.parse(stdout);
    console.log(
      `   vm ${RECOVERED_VM}    disk ${diskId} identical to the source as it was; ${formatBytes(fileBytes)} on the host for ${formatBytes(diskBytes)}`,
    );
  }
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
