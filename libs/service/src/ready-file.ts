/** A file that says a service has started, and where: for whoever starts it and waits. Never seen half written. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { Fault } from '@backhaul/kernel';

export async function announceReady(path: string, port: number): Promise<void> {
  try {
    await writeFile(`${path}.new`, `${JSON.stringify({ pid: process.pid, port })}\n`);
    await rename(`${path}.new`, path);
  } catch (cause) {
    throw new Fault(`Writing the ready file ${path} failed`, { cause, permanent: true });
  }
}

export const withdrawReady = (path: string): Promise<void> => rm(path, { force: true });
