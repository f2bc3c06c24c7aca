/** `backhaul cancel`, `pause` and `resume`: orders for a backup or a recovery at any stage, and with `--wait` until they are carried out. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BackhaulClient, Run } from '@backhaul/client';
import { describeError, isPermanent } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { CommandFailure, exitCodes, failed, refused } from '../exit.ts';
import { shortId } from '../table.ts';
import { json } from '../terminal.ts';

export type OrderName = 'cancel' | 'pause' | 'resume';

export interface OrderFlags {
  readonly reason?: string;
  readonly requestId?: string;
  readonly wait?: boolean;
  readonly json?: boolean;
}

const LOOK_MILLISECONDS = 300;
/** As the live stream is waited for. */
const AWAY_MILLISECONDS_MAX = 60_000;

export async function order(
  name: OrderName,
  id: string,
  flags: OrderFlags,
  context: CommandContext,
): Promise<void> {
  const { locations, terminal, environment, signal } = context;
  const client = await locations.requester();
  const { purpose, runId } = named(await client.run(id));
  const answer = await client.order(name, purpose, runId, {
    requestId: flags.requestId ?? randomUUID(),
    requestedBy: `cli ${environment.USER ?? ''}`.trim(),
    ...(flags.reason === undefined ? {} : { reason: flags.reason }),
  });
  if (!answer.ok) throw refused(answer.refusal);
  const what = `${purpose === 'backup' ? 'Backup' : 'Recovery'} ${shortId(runId)}`;
  if (flags.wait !== true) {
    if (flags.json === true) terminal.out(json(answer.value));
    else terminal.out(`${what} ${WILL[name]}. Follow it with: backhaul events ${shortId(runId)}`);
    return;
  }
  const stands = `${what} ${WILL[name]} all the same. backhaul explain ${shortId(runId)}`;
  const row = await carriedOut(name, client, runId, signal).catch((error: unknown) => {
    throw failed(`Stopped waiting (${describeError(error)}); ${stands}`);
  });
  if (row === undefined) throw failed(`Stopped waiting; ${stands}`);
  if (flags.json === true) terminal.out(json(row));
  if (name === 'cancel' && row.state !== 'cancelled')
    throw new CommandFailure(
      exitCodes.failed,
      `${what} could not be cancelled any more: it is ${row.state}.`,
    );
  if (name === 'pause' && row.state !== 'paused')
    throw new CommandFailure(exitCodes.failed, `${what} could not be paused any more: it is ${row.state}.`);
  if (name === 'resume' && ['failed', 'cancelled', 'refused'].includes(row.state))
    throw failed(`${what} went on, and is ${row.state} now. backhaul explain ${shortId(runId)}`);
  if (flags.json !== true) terminal.out(`${what} ${IS[name]}.`);
}

const WILL = {
  cancel: 'is ordered to end, and what it took is given back',
  pause: 'pauses: its ports and proxies go to others, its point in time stays',
  resume: 'goes on from where it stood',
} as const satisfies Record<OrderName, string>;

const IS = {
  cancel: 'is cancelled, and everything was given back',
  pause: 'is paused, and holds no port and no proxy',
  resume: 'goes on',
} as const satisfies Record<OrderName, string>;

const named = (run: Run) =>
  run.purpose === 'backup'
    ? { purpose: run.purpose, runId: run.backup.backupId, row: run.backup }
    : { purpose: run.purpose, runId: run.recovery.recoveryId, row: run.recovery };

/** The row of the run once the order is carried out, or cannot be any more; undefined when the wait was broken off. */
async function carriedOut(name: OrderName, client: BackhaulClient, runId: string, signal: AbortSignal) {
  let seenAt = Date.now();
  while (!signal.aborted) {
    try {
      const row = await settled(name, client, runId);
      if (row !== undefined) return row;
      seenAt = Date.now();
    } catch (error) {
      // The order stands while the console is restarted, and so does the wait.
      if (isPermanent(error) || Date.now() - seenAt > AWAY_MILLISECONDS_MAX) throw error;
    }
    await sleep(LOOK_MILLISECONDS, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

async function settled(name: OrderName, client: BackhaulClient, runId: string) {
  const { row } = named(await client.run(runId));
  const hasEnded = row.endedAt !== null;
  // What never started took nothing; of the rest the host says when it has everything back.
  if (hasEnded && (row.closedAt !== null || row.triggeredAt === null || row.state === 'refused')) return row;
  if (name === 'pause' && row.state === 'paused' && !(await holdsProxies(client, runId))) return row;
  return name === 'resume' && row.state !== 'paused' ? row : undefined;
}

async function holdsProxies(client: BackhaulClient, runId: string): Promise<boolean> {
  for await (const { kind } of client.all('obligations', { run: runId, kind: 'lease,attachment' }))
    if (kind === 'lease' || kind === 'attachment') return true;
  return false;
}
