/**
 * A whole Backhaul in a folder of its own, with a folder of disk images as its host: what an end-to-end test works with. Speaks
 * to it as an upstream system does (NATS), reads the log as the console may, and restores straight from the repository.
 */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Answer,
  Answer as AnswerSchema,
  answerSubject,
  type Event,
  type EventType,
  type HostPolicy,
  type Policy,
  type Recorded,
  requestSubject,
} from '@backhaul/contracts';
import { connectEventStore, type EventStore } from '@backhaul/event-store';
import { eventually, natsAddress } from '@backhaul/kernel';
import { type Stack, type StackOptions, startStack } from '@backhaul/local';
import { openRepository, restoreDisk } from '@backhaul/repository';
import { connect, type NatsConnection } from 'nats';
import { replayWholeLog } from './replay-whole-log.ts';

export const HOST = 'lab';
const ENDED: readonly EventType[] = [
  'BackupCompleted',
  'BackupFailed',
  'BackupRefused',
  'PlanRefused',
  'BackupCancelled',
  'RecoveryCompleted',
  'RecoveryFailed',
  'RecoveryRefused',
  'RecoveryPlanRefused',
  'RecoveryCancelled',
];

export interface Lab {
  readonly stack: Stack;
  readonly images: string;
  readonly log: EventStore;
  image(name: string): string;
  /** Publishes a request on NATS and resolves with the first answer. */
  ask(name: string, body: Record<string, unknown>): Promise<Answer>;
  /** Sends bytes as they are; the answer under `requestId`. */
  askRaw(name: string, body: Uint8Array, requestId: string): Promise<Answer>;
  /** Asks trigger or console over HTTP, as who knows the token. */
  fetch(service: 'trigger' | 'console', path: string, init?: RequestInit): Promise<Response>;
  definePolicy(policyId: string, policy: Partial<Policy>): Promise<void>;
  /** Of the host `HOST`; what is `null` has no limit any more. */
  changeHostPolicy(changes: Partial<HostPolicy>): Promise<void>;
  backup(vm: string, more?: Record<string, unknown>): Promise<string>;
  /** Asks for a VM of that name, of the restore point that the backup left; the recovery's id. */
  recover(backupId: string, vm: string, more?: Record<string, unknown>): Promise<string>;
  /** Every event of a backup or a recovery so far, in the order of the log. */
  story(runId: string): Promise<Recorded[]>;
  /** The event that ended the run. */
  ended(runId: string, milliseconds?: number): Promise<Event>;
  /** Waits until the run has given everything back. */
  closed(runId: string): Promise<void>;
  /** Waits until the run has this many events of a type. */
  until(runId: string, type: EventType, count: number): Promise<void>;
  /** SIGKILL for every process whose command line names this proxy's folder. */
  killProxy(proxyId: string): Promise<void>;
  restore(backupId: string, diskId: string): Promise<string>;
  /** Ends everything, and throws when a replay of the log does not say what was recorded. */
  close(): Promise<void>;
}

async function connectionsTo(stack: Stack): Promise<{ log: EventStore; nats: NatsConnection }> {
  const log = await connectEventStore({ url: stack.consolePostgresUrl });
  const address = natsAddress(stack.natsUrl);
  try {
    return { log, nats: await connect({ ...address, maxReconnectAttempts: -1, reconnectTimeWait: 100 }) };
  } catch (error) {
    await log.close();
    throw error;
  }
}

export async function openLab(options: Partial<StackOptions> = {}): Promise<Lab> {
  const directory = await mkdtemp(join(tmpdir(), 'bh-'));
  const images = join(directory, 'images');
  await mkdir(images);
  const repository = join(directory, 'repository');
  const stack = await startStack({
    directory,
    repository,
    hosts: [{ hostId: HOST, kind: 'directory', address: images }],
    postgresSettings: ['fsync=off'],
    ...options,
  });
  const own = await connectionsTo(stack).catch(async (error: unknown) => {
    await stack.stop();
    await rm(directory, { recursive: true, force: true });
    throw error;
  });
  const { log } = own;
  let { nats } = own;
  let requests = 0;

  const askRaw = async (name: string, body: Uint8Array, requestId: string): Promise<Answer> => {
    if (nats.isClosed()) nats = await connect(natsAddress(stack.natsUrl));
    const answers = nats.subscribe(answerSubject(requestId), { max: 1, timeout: 20_000 });
    await nats.flush();
    await nats.jetstream().publish(requestSubject(name as never), body);
    for await (const message of answers) return AnswerSchema.parse(message.json());
    throw new Error(`Request ${requestId} was never answered`);
  };
  const ask: Lab['ask'] = (name, body) => {
    requests += 1;
    const requestId = String(body.requestId ?? `request-${requests}`);
    return askRaw(name, new TextEncoder().encode(JSON.stringify({ requestId, ...body })), requestId);
  };
  const story = async (runId: string): Promise<Recorded[]> => {
    const events: Recorded[] = [];
    for (let after = 0; ; ) {
      const page = await log.readLog(after, { correlation: runId });
      events.push(...page.events);
      if (page.next >= page.highWater) return events;
      after = page.next;
    }
  };
  const find = (
    runId: string,
    what: string,
    milliseconds: number,
    types: readonly EventType[],
  ): Promise<Event> =>
    eventually(
      `${what} of run ${runId}`,
      milliseconds,
      async () => (await log.readLog(0, { correlation: runId, types })).events[0],
      // An end is waited for by seconds: nothing depends on seeing it at once.
      100,
    ).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await tail(directory)}`, { cause: error });
    });

  return {
    stack,
    images,
    log,
    image: (name) => join(images, name),
    ask,
    askRaw,
    fetch(service, path, init = {}) {
      const url = service === 'trigger' ? stack.triggerUrl : stack.consoleUrl;
      const authorization = `Bearer ${stack.apiToken}`;
      return fetch(`${url}${path}`, { ...init, headers: { ...init.headers, authorization } });
    },
    async definePolicy(policyId, policy) {
      const answer = await ask('PolicyRequested', { policy: { policyId, ...policy } });
      if (answer.outcome !== 'accepted')
        throw new Error(`The policy was refused: ${answer.refusal?.message}`);
    },
    async changeHostPolicy(changes) {
      const answer = await ask('HostPolicyRequested', { host: HOST, changes });
      if (answer.outcome !== 'accepted')
        throw new Error(`The policy of the host was refused: ${answer.refusal?.message}`);
    },
    async backup(vm, more = {}) {
      const answer = await ask('BackupRequested', { host: HOST, vm, ...more });
      if (answer.backupId === undefined)
        throw new Error(`The backup was refused: ${answer.refusal?.message}`);
      return answer.backupId;
    },
    async recover(backupId, vm, more = {}) {
      const answer = await ask('RecoveryRequested', { backup: backupId, host: HOST, vm, ...more });
      if (answer.recoveryId === undefined)
        throw new Error(`The recovery was refused: ${answer.refusal?.message}`);
      return answer.recoveryId;
    },
    story,
    ended: (runId, milliseconds = 60_000) => find(runId, 'The end', milliseconds, ENDED),
    async closed(runId) {
      await find(runId, 'The run being closed', 60_000, ['RunClosed']);
    },
    async until(runId, type, count) {
      await eventually(`${count} ${type} of run ${runId}`, 60_000, async () => {
        const page = await log.readLog(0, { correlation: runId, types: [type], limit: count });
        return page.events.length >= count ? true : undefined;
      });
    },
    async killProxy(proxyId) {
      const folder = join(stack.stateDirectory, HOST, 'proxies', proxyId);
      for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
        const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
        if (/qemu-(storage-daemon|system)/.test(command) && command.includes(folder))
          process.kill(Number(pid), 'SIGKILL');
      }
    },
    async restore(backupId, diskId) {
      const opened = await openRepository({ location: repository, create: false });
      try {
        const stored = await opened.readManifest(backupId);
        if (stored === undefined) throw new Error(`The repository has no manifest of ${backupId}`);
        const target = join(directory, `${backupId}.${diskId}.restored`);
        await restoreDisk({ repository: opened, manifest: stored.manifest, diskId, target, overwrite: true });
        return target;
      } finally {
        await opened.close();
      }
    },
    async close() {
      try {
        await replayWholeLog(log);
      } finally {
        await nats.close();
        await log.close();
        await stack.stop();
        await rm(directory, { recursive: true, force: true });
      }
    },
  };
}

/** The last lines of every service's log: what a failed wait is explained with. */
async function tail(directory: string): Promise<string> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.log'));
  const parts = await Promise.all(
    names.map(
      async (name) =>
        `--- ${name}\n${(await readFile(join(directory, name), 'utf8')).trim().split('\n').slice(-6).join('\n')}`,
    ),
  );
  return parts.join('\n');
}
