/**
 * A server: listens on a Unix socket or on TCP, and gives every client that comes a connection of its own, up to a limit.
 * It leaves nothing behind when it is closed, and takes over the socket file of a server that was killed.
 */
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { Fault } from '@backhaul/kernel';
import { type Endpoint, endpointLine } from '../protocol/uri.ts';
import { ClientConnection, type ConnectionLimits } from './client-connection.ts';
import type { NbdExport } from './export.ts';

export interface ServeOptions {
  /** Names must differ. A client that names none is given the only one, where there is only one. */
  readonly exports: readonly NbdExport[];
  /** A Unix socket, which only this user may connect to, or an address: TCP has no password, so keep it to 127.0.0.1. Port 0: any free one. */
  readonly listen: Endpoint;
  /** Told, in a line each, of requests that the disk failed and of clients that were hung up on. */
  readonly log?: (line: string) => void;
  /** Default 32; more are hung up on. */
  readonly connectionsMax?: number;
  readonly limits?: Partial<ConnectionLimits>;
}

export interface NbdServer {
  readonly endpoint: Endpoint;
  /** Without an export: of the only one, where there is only one. */
  readonly uri: string;
  readonly connections: number;
  /** Takes nobody new, answers what is in flight, says goodbye. Safe to call twice. */
  close(): Promise<void>;
}

/** Holds what nbdcopy keeps in flight (64 times 256 KiB), and the memory of 32 clients within a GiB. */
const LIMITS: ConnectionLimits = {
  requests: 64,
  bytes: 16 * 1024 * 1024,
  handshakeMilliseconds: 10_000,
  stallMilliseconds: 30_000,
  goodbyeMilliseconds: 2000,
};

/** Throws a Fault that names the address when nobody can listen there. */
export async function serveNbd(options: ServeOptions): Promise<NbdServer> {
  const { exports, listen, log = () => {}, connectionsMax = 32 } = options;
  const limits = { ...LIMITS, ...options.limits };
  const clients = new Set<ClientConnection>();
  const server = createServer({ allowHalfOpen: true, keepAlive: true }, (socket) => {
    if (clients.size >= connectionsMax) {
      log(`A client was hung up on: ${connectionsMax} are served already`);
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const client = new ClientConnection(socket, exports, limits, log);
    clients.add(client);
    void client.closed.then(() => clients.delete(client));
  });
  const endpoint = await listening(server, listen);
  server.on('error', (error) => log(`Taking a client failed: ${error.message}`));
  let closing: Promise<void> | undefined;
  return {
    endpoint,
    uri: endpointUri(endpoint),
    get connections() {
      return clients.size;
    },
    close: () => {
      closing ??= (async () => {
        // Removes the socket file as well.
        const closed = once(server, 'close');
        server.close();
        for (const client of clients) client.end();
        await closed;
      })();
      return closing;
    },
  };
}

async function listening(server: Server, listen: Endpoint): Promise<Endpoint> {
  try {
    if (listen.kind === 'unix') await removeDead(listen.socketPath);
    const ready = once(server, 'listening');
    if (listen.kind === 'tcp') server.listen(listen.port, listen.host);
    else {
      server.listen(listen.socketPath);
      // A disk's contents: for its owner alone. Bound by now, and nobody was let in yet: that takes a turn of the event loop.
      if (server.listening) chmodSync(listen.socketPath, 0o600);
    }
    await ready;
  } catch (cause) {
    throw new Fault(`Listening at ${endpointLine(listen)} failed`, {
      cause,
      permanent: true,
      ...(cause instanceof Fault && cause.code !== undefined ? { code: cause.code } : {}),
    });
  }
  if (listen.kind === 'unix') return listen;
  return { ...listen, port: (server.address() as AddressInfo).port };
}

/** The file of a server that was killed keeps the next one from listening. Whoever answers there is alive and stays. */
async function removeDead(socketPath: string): Promise<void> {
  const found = await lstat(socketPath).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new Fault(`${socketPath} exists and is no socket`, { permanent: true, code: 'EEXIST' });
  const isAnswered = await new Promise<boolean>((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => resolve(true));
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
    probe.once('close', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
  if (isAnswered)
    throw new Fault(`another server listens at ${socketPath}`, { permanent: true, code: 'EADDRINUSE' });
  await unlink(socketPath);
}

const endpointUri = (endpoint: Endpoint): string => {
  if (endpoint.kind === 'unix') {
    return `nbd+unix:///?socket=${encodeURIComponent(endpoint.socketPath).replaceAll('%2F', '/')}`;
  }
  const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host;
  return `nbd://${host}:${endpoint.port}`;
};
