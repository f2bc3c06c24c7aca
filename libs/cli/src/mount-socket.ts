/**
 * A folder of a mount's own for its socket, where no other place was named; and what mounts that were killed have left of theirs: a
 * socket that nobody listens on is of no use to anybody, and is removed, in words.
 */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'backhaul-mount-';
const SOCKET = 'nbd.sock';
/** A folder so young may belong to a mount that is about to listen. */
const YOUNG_MILLISECONDS = 10_000;

export async function makeSocketFolder(
  note: (line: string) => void,
): Promise<{ socketPath: string; remove: () => Promise<void> }> {
  for (const folder of await abandoned()) {
    await rm(folder, { recursive: true, force: true });
    note(`${folder} was left by a mount that was killed, and is removed.`);
  }
  const folder = await mkdtemp(join(tmpdir(), PREFIX));
  return {
    socketPath: join(folder, SOCKET),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

async function abandoned(): Promise<string[]> {
  const names = await readdir(tmpdir());
  const found: string[] = [];
  for (const name of names.filter((each) => each.startsWith(PREFIX))) {
    const folder = join(tmpdir(), name);
    const { uid, mtimeMs } = await stat(folder).catch(() => ({ uid: -1, mtimeMs: Number.MAX_SAFE_INTEGER }));
    if (uid !== process.getuid?.() || Date.now() - mtimeMs < YOUNG_MILLISECONDS) continue;
    if (await isRefused(join(folder, SOCKET))) found.push(folder);
  }
  return found;
}

const isRefused = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
