import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withDeadline } from '@backhaul/kernel';
import { startNats } from '@backhaul/local';
import { expect, test } from 'vitest';
import { openLink } from './link.ts';
import { silentLog } from './log.ts';

test('a link that is closed while its session is being prepared ends, and leaves no connection', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-link-'));
  const nats = await startNats({ directory });
  try {
    const preparing = Promise.withResolvers<AbortSignal>();
    const prepared = Promise.withResolvers<void>();
    const link = openLink({
      url: nats.url,
      name: 'test',
      log: silentLog,
      async prepare({ ended }) {
        preparing.resolve(ended);
        await prepared.promise;
      },
    });
    const ended = await preparing.promise;
    const closing = link.close();
    prepared.resolve();
    await withDeadline('Closing the link', 5_000, () => closing);
    expect(ended.aborted).toBe(true);
    expect(link.current()).toBeUndefined();
  } finally {
    await nats.stop();
    await rm(directory, { recursive: true, force: true });
  }
});
