/**
 * For tests: a way to a server that can stand still, as a network does, or a process that is stopped for a while. Nothing is lost
 * meanwhile and no connection breaks; what was sent arrives when it flows again.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface StallableLink {
  /** What to connect to instead of the server. */
  readonly url: string;
  stall(): void;
  flow(): void;
  close(): Promise<void>;
}

export async function openStallableLink(serverUrl: string): Promise<StallableLink> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let isStalled = false;
  const carry = (from: Socket, to: Socket): void => {
    sockets.add(from);
    from.on('data', (bytes) => void to.write(bytes));
    from.on('error', () => undefined);
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
    if (isStalled) from.pause();
  };
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    carry(client, upstream);
    carry(upstream, client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stall() {
      isStalled = true;
      for (const socket of sockets) socket.pause();
    },
    flow() {
      isStalled = false;
      for (const socket of sockets) socket.resume();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
