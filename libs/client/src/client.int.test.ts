import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, Fault } from '@backhaul/kernel';
import { freePort, type Stack, startStack } from '@backhaul/local';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type BackhaulClient, backhaulClient } from './client.ts';
import { ProblemFault } from './http.ts';
import { orderRun, requestBackup, requestRecovery } from './upstream.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let directory: string;
let stack: Stack;
let client: BackhaulClient;

/** Trigger and console alone: a backup is triggered, and waits for the rest. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-client-'));
  stack = await startStack({
    directory,
    repository: join(directory, 'repository'),
    hosts: [{ hostId: 'lab', kind: 'directory', address: directory }],
    services: ['trigger', 'console'],
    postgresSettings: ['fsync=off'],
  });
  client = backhaulClient(stack);
});
afterAll(async () => {
  await stack?.stop();
  await rm(directory, { recursive: true, force: true });
});

const accepted = async (vm: string): Promise<string> => {
  const answer = await client.requestBackup({ requestId: randomUUID(), host: 'lab', vm });
  if (!answer.ok || answer.value.backupId === undefined) throw new Error(JSON.stringify(answer));
  return answer.value.backupId;
};

test('a request over HTTP is accepted, and the same request again is the same backup', async () => {
  const request = { requestId: 'r1', host: 'lab', vm: 'web-1' };
  const first = await client.requestBackup(request);
  expect(first).toMatchObject({ ok: true, value: { outcome: 'accepted', requestId: 'r1' } });
  expect(await client.requestBackup(request)).toEqual(first);
});

test('who does not show the token is told nothing and starts nothing, also by the live stream', async () => {
  for (const [apiToken, code] of [
    [undefined, 'TokenMissing'],
    [`${stack.apiToken}x`, 'TokenWrong'],
  ] as const) {
    const stranger = backhaulClient({ ...stack, apiToken });
    const wish = { requestId: 'stranger', host: 'lab', vm: 'web-1' };
    await expect(stranger.requestBackup(wish)).rejects.toMatchObject({ code, permanent: true });
    await expect(stranger.status()).rejects.toThrow(/BACKHAUL_API_TOKEN/);
    await expect(stranger.rebuildProjections()).rejects.toMatchObject({ code });
    await expect(stranger.follow({ after: 0 }).next()).rejects.toMatchObject({ code });
  }
});

test('a web page of another site starts no backup, whatever it says it sends', async () => {
  for (const headers of [
    { 'content-type': 'text/plain', origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/json', 'sec-fetch-site': 'same-site' },
  ]) {
    const authorization = `Bearer ${stack.apiToken}`;
    const body = JSON.stringify({ requestId: 'page', host: 'lab', vm: 'web-1' });
    const answer = await fetch(`${stack.triggerUrl}/api/v1/backups`, {
      method: 'POST',
      headers: { ...headers, authorization },
      body,
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(await answer.json()).toMatchObject({ wayOut: expect.any(String) });
  }
});

test('a request over NATS is stored, answered, and told of in the log', async () => {
  const answer = await requestBackup({
    natsUrl: stack.natsUrl,
    requestId: 'upstream-1',
    host: 'lab',
    vm: 'db-1',
  });
  expect(answer).toMatchObject({ outcome: 'accepted', requestId: 'upstream-1' });
  for await (const event of client.follow({ backupId: answer.backupId ?? '', after: 0 })) {
    if (event.type === 'BackupTriggered') break;
  }
});

test('a run is paused, goes on and ends by orders over NATS; of one that nobody knows that is said', async () => {
  const { natsUrl } = stack;
  const backupId = await accepted('orders');
  const stands = (state: string) =>
    eventually(`the backup being ${state}`, 10_000, async () => {
      const backup = await client.backup(backupId).catch(() => undefined);
      return backup?.state === state ? backup : undefined;
    });
  await orderRun('BackupPauseRequested', { natsUrl, backupId, reason: 'the night is short' });
  expect(await stands('paused')).toMatchObject({
    pauseReason: expect.stringContaining('the night is short'),
  });
  await orderRun('BackupResumeRequested', { natsUrl, backupId });
  await stands('triggered');
  expect(await orderRun('BackupCancellationRequested', { natsUrl, backupId })).toMatchObject({
    outcome: 'accepted',
  });
  const unknown = { natsUrl, recoveryId: randomUUID() };
  expect(await orderRun('RecoveryPauseRequested', unknown)).toMatchObject({
    outcome: 'refused',
    refusal: { message: expect.stringContaining(unknown.recoveryId) },
  });
});

test('what is refused says why, over either way', async () => {
  const overHttp = await client.requestBackup({ requestId: 'r2', host: 'mars', vm: 'web-1' });
  expect(overHttp).toMatchObject({ ok: false, refusal: { message: expect.stringMatching(/mars/) } });
  const overNats = await requestBackup({
    natsUrl: stack.natsUrl,
    host: 'mars',
    vm: 'web-1',
    finalMilliseconds: 60_000,
  });
  expect(overNats).toMatchObject({ outcome: 'refused', refusal: { message: expect.stringMatching(/mars/) } });
});

test('a recovery is asked for over either way; a refused one is found by a beginning of its id, and explained', async () => {
  const wish = { backup: randomUUID(), host: 'lab', vm: 'web-2' };
  expect(await client.requestRecovery({ ...wish, requestId: 'r3' })).toMatchObject({
    ok: false,
    refusal: { message: expect.stringMatching(wish.backup) },
  });
  const answer = await requestRecovery({ natsUrl: stack.natsUrl, ...wish, finalMilliseconds: 60_000 });
  expect(answer).toMatchObject({ outcome: 'refused', recoveryId: expect.any(String) });
  const recoveryId = answer.recoveryId ?? '';
  for await (const event of client.follow({ recoveryId, after: 0 })) {
    if (event.type === 'RecoveryRefused') break;
  }
  const run = await eventually('the recovery to be listed', 10_000, () =>
    client.run(recoveryId.slice(0, 13)).catch(() => undefined),
  );
  expect(run).toMatchObject({
    purpose: 'recovery',
    recovery: { recoveryId, state: 'refused', vmId: 'web-2' },
  });
  expect((await client.explainRecovery(recoveryId)).lines.at(-1)).toMatch(/^Refused: .*[0-9a-f]{8}-/);
  const types: string[] = [];
  for await (const event of client.recoveryStory(recoveryId)) types.push(event.type);
  expect(types).toEqual(['RecoveryRefused']);
});

test('a last answer that does not come in time is a fault that says where to ask', async () => {
  const waiting = requestBackup({ natsUrl: stack.natsUrl, host: 'lab', vm: 'slow', finalMilliseconds: 100 });
  await expect(waiting).rejects.toThrow(/came within 100 ms.*ask the console/);
});

test('a list is read to its end, page by page', async () => {
  const ids = new Set([await accepted('a1'), await accepted('a2'), await accepted('a3')]);
  await eventually('all three to be listed', 10_000, async () => {
    const found = new Set<string>();
    for await (const backup of client.all('backups', { host: 'lab', limit: 2 })) found.add(backup.backupId);
    return ids.isSubsetOf(found) ? true : undefined;
  });
  expect((await client.page('backups', { vm: 'a1,a3' })).items).toHaveLength(2);
});

test('the live stream goes on where it was when the console comes back', async () => {
  const first = await accepted('kept-1');
  const seen: string[] = [];
  const iterator = client.follow({ after: 0 });
  for await (const event of iterator) {
    seen.push(event.eventId);
    if (event.type !== 'BackupTriggered') continue;
    const { backupId } = event.data as { backupId: string };
    if (backupId === first) {
      const console = stack.services.get('console');
      await console?.kill();
      await accepted('kept-2');
      await console?.start();
    } else if ((event.data as { vmId: string }).vmId === 'kept-2') break;
  }
  const story: string[] = [];
  for await (const event of client.follow({ after: 0 })) {
    story.push(event.eventId);
    if (story.length === seen.length) break;
  }
  expect(seen).toEqual(story);
});

test('a request waits out a trigger that is away; where it stays away, the id to ask again with is told', async () => {
  const trigger = stack.services.get('trigger');
  await trigger?.kill();
  const requestId = randomUUID();
  const wish = { requestId, host: 'lab', vm: 'patient' };
  const hasty = backhaulClient({ ...stack, patienceMilliseconds: 0 });
  await expect(hasty.requestBackup(wish)).rejects.toThrow(new RegExp(`${requestId}.*may have been taken`));
  const asked = client.requestBackup(wish);
  await trigger?.start();
  expect(await asked).toMatchObject({ ok: true, value: { requestId } });
  expect(await client.requestBackup(wish)).toEqual(await asked);
});

test('an unknown backup is a problem with its way out, and no retry', async () => {
  const asked = client.backup('00000000-0000-4000-8000-000000000000');
  await expect(asked).rejects.toThrow(ProblemFault);
  await expect(asked).rejects.toThrow(/There is no backup .* GET \/api\/v1\/backups lists/);
});

test('a console that is not there is named with its address', async () => {
  const nobody = backhaulClient({ ...stack, consoleUrl: `http://127.0.0.1:${await freePort()}` });
  await expect(nobody.status()).rejects.toThrow(/The console cannot be reached at http:.*ECONNREFUSED/);
  const stream = nobody.follow({ awayMilliseconds: 0 }).next();
  await expect(stream).rejects.toThrow(Fault);
});

test('schedules and policies are defined and found again', async () => {
  expect(
    await client.defineSchedule({ scheduleId: 'nightly', cron: '0 1 * * *', host: 'lab', vm: 'web-1' }),
  ).toMatchObject({ ok: true });
  expect(await client.definePolicy({ policyId: 'small', maxProxiesPerHost: 1 })).toMatchObject({ ok: true });
  expect(await client.definePolicy({ policyId: 'small', maxProxies: 1 } as never)).toMatchObject({
    ok: false,
    refusal: { message: expect.stringMatching(/maxProxies/) },
  });
  await eventually('both to be listed', 10_000, async () => {
    const [schedule] = (await client.page('schedules')).items;
    const [policy] = (await client.page('policies')).items;
    return schedule?.cron === '0 1 * * *' && policy?.policy.maxProxiesPerHost === 1 ? true : undefined;
  });
  expect(await client.removeSchedule('nightly')).toMatchObject({ ok: true });
});
