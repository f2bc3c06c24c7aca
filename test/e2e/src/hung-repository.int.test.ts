/** A repository whose file system hangs in the middle of a backup, and does not fail: it is told, waited for, and nothing is lost. */
import { readdir, readFile } from 'node:fs/promises';
import { eventually, MiB } from '@backhaul/kernel';
import { freezingFolder } from '@backhaul/repository/testing';
import { expect, onTestFinished, test } from 'vitest';
import { copyOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';

interface Readiness {
  readonly ready: boolean;
  readonly checks: Record<string, { readonly ok: boolean; readonly detail: string }>;
}
const ingestOf = async (lab: Lab): Promise<Readiness> => {
  const url = `${lab.stack.services.get('ingest')?.url}/health/ready`;
  return (await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).json()) as Readiness;
};

/** Threads of ingest that are in the kernel and do not come back. */
async function hungThreads(lab: Lab): Promise<number> {
  const folder = `/proc/${lab.stack.services.get('ingest')?.pid}/task`;
  const states = (await readdir(folder)).map((thread) =>
    readFile(`${folder}/${thread}/stat`, 'utf8').catch(() => ''),
  );
  return (await Promise.all(states)).filter((stat) => / D /.test(stat)).length;
}

test('ingest is not ready, names the reason, keeps threads for all else, and the backup goes on by itself', async ({
  skip,
}) => {
  const frozen = (await freezingFolder()) ?? skip('a file system cannot be mounted here');
  const environment = { BACKHAUL_REPOSITORY_ANSWER_SECONDS: '2' };
  const lab = await openLab({ repository: frozen.location, environment });
  onTestFinished(() => lab.close());
  await makeImage(lab.image('web/vda.qcow2'), 96 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 0, 96 * MiB);
  const whole = await sha256Of(await copyOf(lab.image('web/vda.qcow2'), lab.image('../compared.copy')));
  await lab.definePolicy('jobs', { childJobBytes: 16 * MiB, fullThresholdBytes: 1 * MiB });
  await lab.changeHostPolicy({ bytesPerSecond: 8 * MiB });
  const backupId = await lab.backup('web', { policy: 'jobs' });
  await lab.until(backupId, 'ChunkReceived', 1);

  await frozen.freeze();
  onTestFinished(() => frozen.thaw());
  await lab.changeHostPolicy({ bytesPerSecond: null });
  await eventually('more calls that hang than Node has threads', 30_000, async () =>
    (await hungThreads(lab)) > 4 ? true : undefined,
  );
  const told = await eventually('ingest saying so', 30_000, async () => {
    const { ready, checks } = await ingestOf(lab);
    return ready || !checks.repository?.detail.includes('was not tried') ? undefined : checks;
  });
  // It was seen to be there before each put: looking is still possible.
  expect(told.repository?.detail).toMatch(
    /Storing chunks.*the file system hangs, and has not answered since/,
  );
  expect([told.postgres?.ok, told.nats?.ok]).toEqual([true, true]);
  expect(await hungThreads(lab)).toBeLessThanOrEqual(40);

  await frozen.thaw();
  expect(await lab.ended(backupId)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  everythingWasGivenBack(story);
  expect(ofType(story, 'ChildJobInterrupted')).toEqual([]);
  expect((await ingestOf(lab)).ready).toBe(true);
  const recoveryId = await lab.recover(backupId, 'web-2');
  expect(await lab.ended(recoveryId)).toMatchObject({ type: 'RecoveryCompleted' });
  await lab.closed(recoveryId);
  const back = await copyOf(lab.image('web-2/vda.qcow2'), lab.image('../compared.copy'));
  expect(await sha256Of(back)).toBe(whole);
});
