/** Our own server for the running test, and strangers to it, who say what the test has them say. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { NbdExport } from '../server/export.ts';
import { type NbdServer, type ServeOptions, serveNbd } from '../server/serve.ts';
import { temporaryFolder } from './servers.ts';

export interface Served {
  readonly server: NbdServer;
  readonly lines: string[];
  readonly socketPath: string;
  uri(name: string): string;
}

/** On a Unix socket of the running test's own, until it ends. */
export async function serving(
  exports: readonly NbdExport[],
  options: Partial<ServeOptions> = {},
): Promise<Served> {
  const folder = await temporaryFolder();
  const socketPath = join(folder.path, 'nbd.sock');
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const server = await serveNbd({ exports, listen: { kind: 'unix', socketPath }, log, ...options });
  onTestFinished(async () => {
    await server.close();
    await folder[Symbol.asyncDispose]();
  });
  return { server, lines, socketPath, uri: (name) => server.uri.replace('///', `///${name}`) };
}

/** A client that says what the test has it say. */
export async function stranger(
  socketPath: string,
): Promise<{ socket: Socket; closed: Promise<unknown>; heard: Buffer[] }> {
  const socket = connect(socketPath);
  const heard: Buffer[] = [];
  socket.on('data', (bytes) => heard.push(bytes));
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return { socket, closed, heard };
}
