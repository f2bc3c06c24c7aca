import { createServer } from 'node:net';

/** A TCP port of the loopback interface that nobody listens on at the moment of asking. */
export async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new Error('No free port of the loopback interface could be found')),
      );
    });
  });
}
