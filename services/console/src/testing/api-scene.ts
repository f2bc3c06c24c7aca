/** What operators would see on a busy day: runs that ended well and badly, runs under way, and a shared proxy that was lost. */
import { backupIdOf, backupStory, recoveryStory, sharedProxyStory, type Told, teller } from './story.ts';

export function apiScene(): Told[] {
  const lost = teller(backupIdOf('earlier'));
  lost.append('host', 'lab', 'ProxyLost', { hostId: 'lab', proxyId: 'lab-shared', reason: 'signal 9' });
  return [
    ...sharedProxyStory(),
    ...backupStory({ name: 'b1', interrupted: true }),
    ...backupStory({ name: 'b2', vmId: 'db-1', shared: true }),
    ...recoveryStory({ name: 'r1', backup: 'b1', shared: true }),
    ...recoveryStory({ name: 'r2', backup: 'b1', end: 'damaged' }),
    ...until('ChunkReceived', backupStory({ name: 'b3' })),
    ...until('ChunkExported', recoveryStory({ name: 'r3', backup: 'b1', shared: true })),
    // b2 and r1 shared it, too, and had given it back.
    ...lost.told,
  ];
}

const until = (type: string, told: readonly Told[]): readonly Told[] =>
  told.slice(0, told.findIndex(({ event }) => event.type === type) + 1);
