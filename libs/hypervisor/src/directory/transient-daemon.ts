/**
 * A storage daemon for one look at images: it ends when the look is over, and also when we are killed in the middle of
 * it, because a shell between us holds on to our end of a pipe and cleans up when that end is gone.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, Fault, withDeadline } from '@backhaul/kernel';
import { QmpClient } from '../qmp.ts';
import { removeFolder } from '../state-file.ts';
import { lastPart } from '../tool.ts';
import { daemonArguments, nbdEndpointOf, requireSocketPath, type StorageDaemon } from './storage-daemon.ts';

/** $1: the folder to remove; the rest is the command. It ends when it is told to, or when standard input ends. */
const WHILE_WE_LIVE = `
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
daemon=$!
{ cat >/dev/null; kill "$daemon"; } <&3 >/dev/null 2>&1 &
exec 3<&-
wait "$daemon"
rm -rf "$folder"
`;

const START_MILLISECONDS = 30_000;
const END_MILLISECONDS = 15_000;

/** Runs `look` with a daemon of its own under `folder`, and leaves nothing of it behind. */
export async function withTransientDaemon<T>(
  folder: string,
  what: string,
  look: (qmp: QmpClient, endpoint: string) => Promise<T>,
): Promise<T> {
  const own = join(folder, randomBytes(4).toString('hex'));
  const daemon: StorageDaemon = { what, folder: own, name: 'look', connectionsMax: 0 };
  requireSocketPath(join(own, 'look.sock'));
  await mkdir(own, { recursive: true });
  const shell = spawn(
    'sh',
    ['-c', WHILE_WE_LIVE, 'sh', own, 'qemu-storage-daemon', ...daemonArguments(daemon)],
    {
      stdio: ['pipe', 'ignore', 'pipe'],
    },
  );
  let said = '';
  shell.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = lastPart(said + text);
  });
  let ended = false;
  const end = new Promise<void>((resolve) => {
    const over = () => {
      ended = true;
      resolve();
    };
    shell.once('error', over).once('close', over);
  });
  try {
    const qmp = await eventually(`The start of ${what}`, START_MILLISECONDS, async () => {
      if (ended) throw new Fault(`Starting ${what} failed: ${said.trim()}`, { code: 'DaemonNotStarted' });
      return await QmpClient.connect({ path: join(own, 'look.qmp'), target: what }).catch(() => undefined);
    });
    try {
      return await look(qmp, nbdEndpointOf(daemon));
    } finally {
      qmp.close();
    }
  } finally {
    shell.stdin.end();
    await withDeadline(`The end of ${what}`, END_MILLISECONDS, async () => await end);
    await removeFolder(own);
  }
}
