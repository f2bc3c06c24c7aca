/** The queue as an operator asks for it: over HTTP, from a real log. */
import { noHostPolicy } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { prepareGenerations } from './adapters/generations.ts';
import { projectRound } from './adapters/projector.ts';
import { apiRoutes, serveApi } from './api/api.ts';
import { type Narrator, narrator } from './testing/append-story.ts';
import { backupIdOf, backupStory, type Told, teller } from './testing/story.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: TestStore;
let store: EventStore;
let story: Narrator;
let http: FastifyInstance;
const stopping = new AbortController();

beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('console');
  story = narrator((service) => server.store(service));
  await prepareGenerations(store.kysely);
  http = Fastify();
  await serveApi(http, apiRoutes(store, { signal: stopping.signal }));
});
afterAll(async () => {
  stopping.abort();
  await http?.close();
  await server?.close();
});

const until = (type: string, told: readonly Told[]): readonly Told[] =>
  told.slice(0, told.findIndex(({ event }) => event.type === type) + 1);

async function queue(): Promise<Record<string, unknown>[]> {
  while (await projectRound({ store, signal: stopping.signal }));
  const reply = await http.inject({ method: 'GET', url: '/api/v1/queue?host=lab' });
  expect(reply.statusCode).toBe(200);
  return reply.json().items;
}

test('who waits at a host and who waits at a VM are told with the reason, and what happens since is seen', async () => {
  const tell = teller('queue');
  tell.append('host', 'lab', 'HostRegistered', { hostId: 'lab', kind: 'directory', address: '/images' });
  const policy = { ...noHostPolicy, maxOpenSnapshots: 1 };
  tell.append('host', 'lab', 'HostPolicyAdopted', { hostId: 'lab', policy, revision: 1 });
  const first = backupStory({ name: 'b1' });
  const second = backupStory({ name: 'b2', vmId: 'db-1' });
  await story.tell([
    ...tell.told,
    ...until('SnapshotRequested', first),
    ...until('ActivationRequested', second),
  ]);
  const asked = second.find(({ event }) => event.type === 'BackupTriggered')?.event;
  if (asked?.type !== 'BackupTriggered') throw new Error('The story has no trigger');
  const { parent: _, ...request } = asked.data;
  const [behind, runId] = [backupIdOf('b2'), backupIdOf('b3')];
  const waiting = teller(runId);
  waiting.append('vm', 'lab.db-1', 'VmAwaited', {
    ...{ hostId: 'lab', vmId: 'db-1', runId, behind },
    asked: { purpose: 'backup', ...request, backupId: runId },
  });
  await story.tell(waiting.told);

  expect(await queue()).toEqual([
    expect.objectContaining({
      ...{ vmId: 'db-1', runId: behind, priority: 'normal', waitsFor: 'leave to begin', place: 1, of: 1 },
      because: '1 of at most 1 snapshots are open on host lab',
      startsInSeconds: null,
      estimate: 'unknown: no child job has ended at this host yet',
    }),
    expect.objectContaining({
      ...{ vmId: 'db-1', runId, waitsFor: 'turn', place: 1, of: 1 },
      because: `vm db-1 is busy: it comes after backup ${behind}`,
    }),
  ]);

  const lifted = teller('queue');
  lifted.append('host', 'lab', 'HostPolicyAdopted', { hostId: 'lab', policy: noHostPolicy, revision: 2 });
  lifted.append('host', 'lab', 'SnapshotRequested', { hostId: 'lab', runId: behind, vmId: 'db-1' });
  await story.tell(lifted.told);
  expect((await queue()).map(({ waitsFor }) => waitsFor)).toEqual(['turn']);
});
