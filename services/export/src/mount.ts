/**
 * A restore point that is served for a VM that starts from it, as its stream `mount-<recoveryId>` tells: asked for, open, ending, closed.
 * The promises kept here: it is asked for once; who serves it says so once, and says the same at every start; and what has ended before
 * it was asked for is never opened.
 */
import {
  type Event,
  type EventData,
  type EventMetadata,
  type Mounts,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';

export const mountStream = (recoveryId: string): StreamName => streamName('mount', recoveryId);

export type MountOrder = EventData<'MountRequested'>;
export type MountKey = Pick<MountOrder, 'recoveryId' | 'hostId' | 'vmId'>;

export interface Mount {
  readonly order: MountOrder | undefined;
  readonly isOpen: boolean;
  readonly isTold: boolean;
  readonly ends: 'not' | 'ending' | 'closed';
}

export const newMount: Mount = { order: undefined, isOpen: false, isTold: false, ends: 'not' };

export function evolve(mount: Mount, event: Event): Mount {
  switch (event.type) {
    case 'MountRequested':
      return { ...mount, order: event.data };
    case 'MountOpened':
      return { ...mount, isOpen: true };
    case 'MountReadFailed':
      return { ...mount, isTold: true };
    case 'MountEnding':
      return { ...mount, ends: 'ending' };
    case 'MountClosed':
      return { ...mount, ends: 'closed' };
    default:
      return mount;
  }
}

export const requested = ({ order, ends }: Mount, data: MountOrder): Event[] =>
  order === undefined && ends === 'not' ? [{ type: 'MountRequested', data }] : [];

export const opened = ({ isOpen, ends }: Mount, key: MountKey, mounts: Mounts): Event[] =>
  isOpen || ends !== 'not' ? [] : [{ type: 'MountOpened', data: { ...key, mounts } }];

export const readFailed = (
  { isTold, ends }: Mount,
  key: MountKey,
  diskId: string,
  reason: string,
): Event[] =>
  isTold || ends !== 'not' ? [] : [{ type: 'MountReadFailed', data: { ...key, diskId, reason } }];

/** One that nobody has asked for is closed at once, in case that somebody still asks. */
export const ending = ({ order, ends }: Mount, key: MountKey): Event[] => {
  if (ends !== 'not') return [];
  return [{ type: order === undefined ? 'MountClosed' : 'MountEnding', data: key }];
};

export const closed = ({ ends }: Mount, key: MountKey): Event[] =>
  ends === 'closed' ? [] : [{ type: 'MountClosed', data: key }];

export async function loadMount(
  store: EventStore,
  recoveryId: string,
): Promise<{ mount: Mount; version: number }> {
  const { events, version } = await store.readStreamPage(mountStream(recoveryId));
  return { mount: events.reduce(evolve, newMount), version };
}

/** Decides at the stream as it stands. Where somebody else was quicker it is a conflict, and worth another try. */
export async function decideMount(
  store: EventStore,
  recoveryId: string,
  command: { commandId: string; metadata: EventMetadata },
  decide: (mount: Mount) => Event[],
): Promise<void> {
  const { mount, version } = await loadMount(store, recoveryId);
  const events = decide(mount);
  if (events.length === 0) return;
  const appended = await store.append(
    [{ stream: mountStream(recoveryId), expected: version, events }],
    command,
  );
  if (!appended.ok) throw new Fault(appended.refusal.message, { code: appended.refusal.code });
}
