/** Requests and histories for tests, said in few words. */
import { BackupRequested, type Event, type EventType, Policy, type RestorePoint } from '@backhaul/contracts';
import { type Decider, fold, type Result } from '@backhaul/kernel';
import type { Asked } from './backup.ts';
import { backupIdOf, type RequestBackup } from './turns.ts';

export const at = '2026-01-01T00:00:00.000Z';

export function asked(requestId: string, policy: Partial<Policy> = {}): Asked {
  return {
    backupId: backupIdOf(requestId),
    hostId: 'lab',
    vmId: 'web-1',
    kind: 'auto',
    mode: 'auto',
    policy: Policy.parse(policy),
    origin: { via: 'nats', requestId },
    requestedAt: at,
  };
}

export function requestFor(requestId: string, fields: Partial<RequestBackup> = {}): RequestBackup {
  return {
    backupId: backupIdOf(requestId),
    request: BackupRequested.parse({ requestId, host: 'lab', vm: 'web-1' }),
    origin: { via: 'nats', requestId },
    requestedAt: at,
    hostKnown: true,
    policy: Policy.parse({}),
    ...fields,
  };
}

export const restorePointOf = (requestId: string): RestorePoint => ({
  backupId: backupIdOf(requestId),
  manifestDigest: 'a'.repeat(64),
  takenAt: at,
  disks: [],
});

/** given these events, when this command, then this decision. */
export const given =
  <State, Command, E extends Event<EventType>>(decider: Decider<State, Command, E>) =>
  (...history: E[]) => ({
    when: (command: Command): Result<E[]> =>
      decider.decide(fold(decider.evolve, decider.initialState, history), command),
  });
