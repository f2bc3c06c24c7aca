/**
 * `npm run record-logs [-- name...]`: records the logs that the replay check is held against (recorded-logs.test.ts), by running whole stacks
 * through telling situations. To be run when a rule was changed on purpose: the difference that the test names then becomes the new
 * record, and the change of the file says so in review.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StoredRecord } from '@backhaul/contracts';
import { storedLog, writeLogFile } from '@backhaul/event-store';
import { MiB } from '@backhaul/kernel';
import { makeImage, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { ofType } from './log-checks.ts';
import { replayWholeLog } from './replay-whole-log.ts';

const FOLDER = fileURLToPath(new URL('../recorded/', import.meta.url));

const POLICY = {
  childJobBytes: 8 * MiB,
  maxPortsPerProxy: 2,
  maxChildJobsPerProxy: 2,
  maxProxiesPerHost: 3,
  fullThresholdBytes: 16 * MiB,
  incrementalThresholdBytes: 8 * MiB,
  recoveryThresholdBytes: 8 * MiB,
  maxStreamsPerDisk: 3,
  proxyIdleSeconds: 2,
};

const policy = 'proxies';
const full = { policy, kind: 'full' };

async function makeVms(lab: Lab): Promise<void> {
  await makeImage(lab.image('web/vda.qcow2'), 128 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 0, 48 * MiB);
  await makeImage(lab.image('web/vdb.raw'), 16 * MiB);
  await writeRandom(lab.image('web/vdb.raw'), 4 * MiB, 8 * MiB);
  await makeImage(lab.image('db.qcow2'), 64 * MiB);
  await writeRandom(lab.image('db.qcow2'), 0, 40 * MiB);
  await lab.definePolicy(policy, POLICY);
  await lab.definePolicy('candidate', { ...POLICY, childJobBytes: 16 * MiB, maxProxiesPerHost: 1 });
}

async function done(lab: Lab, ...runIds: readonly string[]): Promise<void> {
  for (const runId of runIds) {
    await lab.ended(runId);
    await lab.closed(runId);
  }
}

/** By the name of the file. */
const situations: Readonly<Record<string, (lab: Lab) => Promise<void>>> = {
  async 'fulls-share-proxies'(lab) {
    const runs = [await lab.backup('web', full), await lab.backup('db', full)];
    await done(lab, ...runs);
  },
  async 'incrementals-and-refusals'(lab) {
    await done(lab, await lab.backup('web', { policy }));
    await writeRandom(lab.image('web/vda.qcow2'), 20 * MiB, 2 * MiB);
    await done(lab, await lab.backup('web', { policy }));
    await writeRandom(lab.image('web/vda.qcow2'), 20 * MiB, 24 * MiB);
    await done(lab, await lab.backup('web', { policy }));
    await done(lab, await lab.backup('db', { policy, mode: 'direct-to-host' }));
    await lab.definePolicy('impossible', { maxPortsPerProxy: 0 });
    for (const [vm, name] of [
      ['db', 'impossible'],
      ['nobody', policy],
    ] as const)
      await lab.ended(await lab.backup(vm, { policy: name }));
  },
  async 'recoveries-beside-backups'(lab) {
    const point = await lab.backup('web', full);
    await done(lab, point);
    const beside = await lab.backup('db', full);
    await lab.until(beside, 'PortsLeased', 1);
    await done(lab, await lab.recover(point, 'web-2', { policy }), beside);
    await done(lab, await lab.recover(point, 'web-3', { policy, disks: ['vda'], mode: 'direct-to-host' }));
    await lab.ended(await lab.recover(point, 'web-2', { policy }));
  },
  async 'a-proxy-dies'(lab) {
    const runs = [await lab.backup('web', full), await lab.backup('db', full)];
    await lab.until(runs[0] ?? '', 'PortsLeased', 2);
    const [lease] = ofType(await lab.story(runs[0] ?? ''), 'PortsLeased');
    await lab.killProxy(lease?.data.proxyId ?? '');
    await done(lab, ...runs);
  },
  async 'orders-and-limits'(lab) {
    const ask = async (name: string, body: Record<string, unknown>): Promise<void> => {
      const answer = await lab.ask(name, body);
      if (answer.outcome !== 'accepted') throw new Error(`${name}: ${answer.refusal?.message}`);
    };
    // So slow that nothing ends before it is told to.
    const tight = { maxOpenSnapshots: 1, bytesPerSecond: 8 * MiB };
    await ask('HostPolicyRequested', { host: HOST, changes: tight });
    const web = await lab.backup('web', full);
    await lab.until(web, 'PortsLeased', 1);
    const db = await lab.backup('db', full);
    await lab.until(db, 'ActivationRequested', 1);
    await ask('BackupPauseRequested', { backupId: web });
    await lab.until(web, 'RunPaused', 1);
    await ask('BackupCancellationRequested', { backupId: db });
    await lab.closed(db);
    await ask('HostPolicyRequested', {
      host: HOST,
      changes: { maxOpenSnapshots: null, bytesPerSecond: null },
    });
    await ask('BackupResumeRequested', { backupId: web });
    await done(lab, web);
  },
  async 'services-are-killed'(lab) {
    for (const name of ['proxy-manager', 'ingest', 'planner'] as const) {
      const runs = [await lab.backup('web', full), await lab.backup('db', full)];
      await lab.until(runs[0] ?? '', 'ActivationRequested', 1);
      const service = lab.stack.services.get(name);
      await service?.kill();
      await service?.start();
      await done(lab, ...runs);
    }
  },
};

async function record(name: string, live: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await openLab({ environment: { BACKHAUL_SHADOW_POLICIES: `${policy}=candidate` } });
  try {
    await makeVms(lab);
    await live(lab);
    await replayWholeLog(lab.log);
    const path = join(FOLDER, `${name}.jsonl.gz`);
    // Chunks are many and nothing is decided on them; where the lab lay is nobody's business.
    const records = storedLog(lab.log, { except: ['ChunkReceived', 'ChunkExported'] });
    console.log(`${name}: ${await writeLogFile(path, withoutPlace(records, join(lab.images, '..')))} events`);
  } finally {
    await lab.close();
  }
}

async function* withoutPlace(
  records: AsyncIterable<StoredRecord>,
  directory: string,
): AsyncGenerator<StoredRecord> {
  for await (const each of records)
    yield JSON.parse(JSON.stringify(each).replaceAll(directory, '/lab')) as StoredRecord;
}

await mkdir(FOLDER, { recursive: true });
const asked = process.argv.slice(2);
for (const [name, live] of Object.entries(situations))
  if (asked.length === 0 || asked.includes(name)) await record(name, live);
