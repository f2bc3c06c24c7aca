/**
 * A request for something that takes a turn at a VM: a backup of it, or a recovery to it. Which of the two it is, is told apart here,
 * so that turns are the same for both.
 */
import { BackupRequested, type Origin, type Policy, RecoveryRequested } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { askForBackup, contentOfBackup, repeatsBackup } from './backup.ts';
import type { Recoverable } from './recoverable.ts';
import { askForRecovery, contentOfRecovery, repeatsRecovery } from './recovery.ts';
import { type Asked, type Run, type RunName, runIdFor } from './run.ts';

export type Wish =
  | { readonly purpose: 'backup'; readonly request: BackupRequested }
  | { readonly purpose: 'recovery'; readonly request: RecoveryRequested };

/** A wish with all that was looked up for it. */
export type RequestRun = Circumstances &
  (
    | (Wish & { readonly purpose: 'backup' })
    | (Wish & { readonly purpose: 'recovery'; readonly recoverable: Result<Recoverable> })
  );

export interface Circumstances {
  readonly origin: Origin;
  readonly requestedAt: string;
  /** Whether the host is one of this deployment's. */
  readonly hostKnown: boolean;
  /** Undefined: there is no policy of that name. */
  readonly policy: Policy | undefined;
}

export const runNameOf = ({ purpose, request }: Wish): RunName => ({
  purpose,
  runId: runIdFor(purpose, request.requestId),
});

/** What makes two requests the same request. */
export const contentOf = ({ purpose, request }: Wish): string =>
  purpose === 'backup' ? contentOfBackup(request) : contentOfRecovery(request, request.disks);

/** Whether this is what was asked under its id before, whatever became of that. */
export function repeats(known: Exclude<Run, { state: 'unknown' }>, wish: Wish): boolean {
  if (known.state === 'refused') {
    const before = wishOfText(wish.purpose, known.request);
    return before !== undefined && contentOf(before) === contentOf(wish);
  }
  const { asked } = known;
  if (wish.purpose === 'backup') return asked.purpose === 'backup' && repeatsBackup(asked, wish.request);
  return asked.purpose === 'recovery' && repeatsRecovery(asked, wish.request);
}

export function ask(wanted: RequestRun): Result<Asked> {
  const { request, policy, origin, requestedAt } = wanted;
  if (!wanted.hostKnown) return refuse(unknownHost(request.host));
  if (policy === undefined) return refuse(unknownPolicy(request.policy));
  const ground = { runId: runNameOf(wanted).runId, policy, origin, requestedAt };
  return wanted.purpose === 'backup'
    ? ok(askForBackup(wanted.request, ground))
    : askForRecovery(wanted.request, wanted.recoverable, ground);
}

/** Undefined where the request that was refused could not be read. */
function wishOfText(purpose: Wish['purpose'], text: string): Wish | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return purpose === 'backup'
      ? { purpose, request: BackupRequested.parse(value) }
      : { purpose, request: RecoveryRequested.parse(value) };
  } catch {
    return undefined;
  }
}

export const unknownHost = (host: string): Refusal => ({
  code: 'UnknownHost',
  message: `Host ${host} is not one of this deployment's.`,
  wayOut: 'Name a host of BACKHAUL_HOSTS, or add it there.',
});

const unknownPolicy = (policy: string): Refusal => ({
  code: 'UnknownPolicy',
  message: `There is no policy ${policy}.`,
  wayOut: 'Define it (PUT /api/v1/policies/<id>), or leave it out for the default.',
});
