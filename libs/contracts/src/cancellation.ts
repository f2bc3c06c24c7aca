/**
 * How the end of a run that was cancelled after it had started is known: BackupFailed and RecoveryFailed bring a refusal with this code, so
 * that who knows nothing of cancelling still hears that it ended, and why.
 */
import type { Purpose } from './vocabulary.ts';

export const CANCELLED = {
  backup: 'BackupCancelled',
  recovery: 'RecoveryCancelled',
} as const satisfies Record<Purpose, string>;

export const isCancellation = ({ code }: { readonly code: string }): boolean =>
  code === CANCELLED.backup || code === CANCELLED.recovery;
