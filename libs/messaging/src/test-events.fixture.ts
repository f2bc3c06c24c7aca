import { type Event, type StreamName, streamName } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';

/** A small event that the trigger owns; `backup` tells one from another. */
export const claimed = (backup: string | number): Event<'VmClaimed'> => ({
  type: 'VmClaimed',
  data: { hostId: 'h1', vmId: 'web-1', runId: derivedId('backup', backup) },
});

/** An event that the trigger owns, too, and that is as large as wanted. */
export const refusedOf = (requestBytes: number): Event<'BackupRefused'> => ({
  type: 'BackupRefused',
  data: {
    backupId: derivedId('backup', 'large'),
    origin: { via: 'http', requestId: 'large' },
    refusal: { code: 'InvalidRequest', message: 'It does not fit.' },
    request: 'x'.repeat(requestBytes),
    refusedAt: '2026-01-01T00:00:00.000Z',
  },
});

export const vmStream = (vm: string): StreamName => streamName('vm', `h1.${vm}`);
