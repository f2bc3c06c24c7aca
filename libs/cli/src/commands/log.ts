/** `backhaul log`: seals what the log has, and proves from its rows that it still is what was sealed. Straight to Postgres. */
import {
  connectEventStore,
  type EventStore,
  type NotedSeal,
  openSealKey,
  sealLog,
  verifyLog,
} from '@backhaul/event-store';
import type { CommandContext } from '../command.ts';
import { failed, usage } from '../exit.ts';
import { readStackFile, stackFilePath } from '../stack-file.ts';
import { json } from '../terminal.ts';

export interface LogFlags {
  readonly postgresUrl?: string;
  readonly json?: boolean;
}
export interface SealFlags extends LogFlags {
  readonly key?: string;
}
export interface VerifyLogFlags extends LogFlags {
  readonly publicKey?: string;
  readonly noted?: NotedSeal;
}

export async function seal(flags: SealFlags, context: CommandContext): Promise<void> {
  const { terminal, environment, signal } = context;
  const keyFile = await setting(flags.key, 'BACKHAUL_SEAL_KEY_FILE', 'sealKeyFile', environment);
  if (keyFile === undefined)
    throw usage(
      'Which key? Name its file with --key or BACKHAUL_SEAL_KEY_FILE; where there is none it is made.',
    );
  await withLog(flags, context, async (store) => {
    const key = await openSealKey(keyFile);
    const made = await sealLog(store, key, { signal });
    if (flags.json === true) return terminal.out(json(made));
    for (const { seal: number, hash, after, through, events } of made)
      terminal.out(`Seal ${number}:${hash}: ${events} events at positions ${after + 1} to ${through}.`);
    if (made.length === 0) terminal.out('Everything is sealed.');
    terminal.out(`Public key: ${key.publicKey}`);
  });
}

export async function verifySealed(flags: VerifyLogFlags, context: CommandContext): Promise<void> {
  const { terminal, environment } = context;
  const publicKey = flags.publicKey ?? (environment.BACKHAUL_SEAL_PUBLIC_KEY || undefined);
  await withLog(flags, context, async (store) => {
    const verdict = await verifyLog(store, { publicKey, noted: flags.noted });
    if (flags.json === true) terminal.out(json(verdict));
    if (!verdict.ok)
      throw failed(`The log is not what was sealed. Position ${verdict.position}: ${verdict.message}.`);
    const { seals, events, through, unsealed, key, newest } = verdict;
    if (newest === undefined && unsealed > 0)
      throw failed(`Nothing can be proved of the log: none of its ${unsealed} events is sealed.`);
    if (flags.json === true) return;
    if (newest === undefined) return terminal.out('The log is empty.');
    const rest = unsealed === 0 ? 'Nothing is unsealed' : `${unsealed} events behind them are not sealed yet`;
    terminal.out(
      `The log is what was sealed: ${events} events in ${seals} seals, up to position ${through}. ${rest}.`,
    );
    terminal.out(`Newest seal: ${newest.seal}:${newest.hash}`);
    terminal.out(`Public key: ${key}`);
    if (publicKey === undefined)
      terminal.note(
        'The key is the one in the seals. --public-key proves that it is yours, --noted that nothing was cut off.',
      );
  });
}

export async function withLog(
  flags: LogFlags,
  { environment }: CommandContext,
  work: (store: EventStore) => Promise<void>,
): Promise<void> {
  const url = await setting(flags.postgresUrl, 'BACKHAUL_POSTGRES_URL', 'postgresUrl', environment);
  if (url === undefined) {
    throw usage(
      'Where is the log? Start everything on this machine with "backhaul up", or give its PostgreSQL, as the console logs in, with --postgres-url or BACKHAUL_POSTGRES_URL.',
    );
  }
  if (URL.parse(url) === null)
    throw usage('The URL of PostgreSQL is none: such as postgresql://user@host/database.');
  const store = await connectEventStore({ url, poolSize: 2, applicationName: 'backhaul-log' });
  try {
    await work(store);
  } finally {
    await store.close();
  }
}

/** A flag wins over the environment, and that over what `backhaul up` wrote. */
const setting = async (
  flag: string | undefined,
  variable: string,
  field: 'postgresUrl' | 'sealKeyFile',
  environment: NodeJS.ProcessEnv,
): Promise<string | undefined> =>
  flag ?? (environment[variable] || (await readStackFile(stackFilePath(environment)))?.[field]);
