import type { Recorded } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { beforeEach, expect, test } from 'vitest';
import type { LogReader } from './event-store.ts';
import { type LeaseHold, LeaseWatch } from './lease-watch.ts';

const never = new AbortController().signal;
let log: Recorded[];
let isDown: boolean;
let watch: LeaseWatch;

const reader = {
  async readLog(after: number, { correlation }: { correlation?: string } = {}) {
    if (isDown) throw new Fault('The log is away');
    const events = log.filter(
      ({ position, type, metadata }) =>
        position > after &&
        type === 'PortsReleased' &&
        (correlation === undefined || metadata.correlation === correlation),
    );
    return { events, next: Math.max(after, log.length), highWater: log.length };
  },
} as unknown as LogReader;

function append(type: 'PortsLeased' | 'PortsReleased', leaseId: string): Recorded<'PortsLeased'> {
  const event = {
    ...{ type, data: { leaseId, runId: 'run' }, eventId: `e${log.length}`, position: log.length + 1 },
    metadata: { correlation: 'run' },
  } as unknown as Recorded<'PortsLeased'>;
  log.push(event);
  return event;
}
/** Work that has begun once `begun` resolves, and ends with its signal. */
function endless() {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const work = ({ signal }: LeaseHold): Promise<never> => {
    resolve();
    return until(signal);
  };
  return { begun, work };
}
const until = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

beforeEach(() => {
  log = [];
  isDown = false;
  watch = new LeaseWatch(reader);
});

test('work is done while its lease is held, and what goes wrong with it is told', async () => {
  const lease = append('PortsLeased', 'l1');
  append('PortsReleased', 'another');
  let isHeld: boolean | undefined;
  await watch.whileHeld(lease, never, async ({ hasEnded }) => {
    isHeld = !(await hasEnded());
  });
  expect(isHeld).toBe(true);
  await expect(watch.whileHeld(lease, never, () => Promise.reject(new Error('broken')))).rejects.toThrow(
    'broken',
  );
});

test('a lease that has ended before its message is heard begins no work', async () => {
  const lease = append('PortsLeased', 'l1');
  append('PortsReleased', 'l1');
  await watch.whileHeld(lease, never, () => Promise.reject(new Error('It must not begin')));
});

test('work ends soon after its lease, and only that; and so does the next, after a time without any', async () => {
  for (const name of ['l1', 'l2']) {
    const [mine, other] = [append('PortsLeased', name), append('PortsLeased', `${name} other`)];
    const stop = new AbortController();
    const [ours, theirs] = [endless(), endless()];
    const otherWork = watch.whileHeld(other, stop.signal, theirs.work);
    const work = watch.whileHeld(mine, never, ours.work);
    await Promise.all([ours.begun, theirs.begun]);
    append('PortsReleased', name);
    await work;
    stop.abort(new Error('the service stops'));
    await expect(otherWork).rejects.toThrow('the service stops');
  }
});

test('work that is cut off can tell, before anybody told it', async () => {
  const lease = append('PortsLeased', 'l1');
  const told: boolean[] = [];
  await watch.whileHeld(lease, never, async ({ hasEnded, signal }) => {
    append('PortsReleased', 'l1');
    told.push(signal.aborted, await hasEnded());
  });
  expect(told).toEqual([false, true]);
});

test('a log that is away for a while is asked again', async () => {
  const lease = append('PortsLeased', 'l1');
  const { promise: failed, resolve: onFault } = Promise.withResolvers<string>();
  watch = new LeaseWatch(reader, onFault);
  const { begun, work } = endless();
  const done = watch.whileHeld(lease, never, work);
  await begun;
  isDown = true;
  append('PortsReleased', 'l1');
  expect(await failed).toContain('The log is away');
  isDown = false;
  await done;
});
