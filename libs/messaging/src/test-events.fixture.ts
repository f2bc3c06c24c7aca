import { type Event, type StreamName, streamName } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';

/** A small event that the trigger owns; `backup` tells one from another. */
export const claimed = (backup: string | number): Event<'VmClaimed'> => ({
  type: 'VmClaimed',
  data: { hostId: 'h1', vmId: 'web-1', runId: derivedId('backup', backup) },
});

export const vmStream = (vm: string): StreamName => streamName('vm', `h1.${vm}`);
