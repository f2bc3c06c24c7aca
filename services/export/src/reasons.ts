/**
 * Why an attempt ended, in the words of its event: a code first where there is one that a later step has to know again (RunFailed brings
 * the host's words, and how the recovery ended is told from ours).
 */
import { describeError, Fault, hasCode, isPermanent } from '@backhaul/kernel';

/** What no other port, proxy or attempt can mend. */
const CODES = ['RestorePointDamaged', 'ReadBackDiffers', 'NoSpace'] as const;
export type LastingCode = (typeof CODES)[number];

/** The repository's own fault: every attempt meets it again. */
export const damaged = (message: string, cause?: unknown): Fault =>
  new Fault(message, { cause, permanent: true, code: 'RestorePointDamaged' });

export function codeOf(error: unknown): LastingCode | undefined {
  if (hasCode(error, 'ENOSPC')) return 'NoSpace';
  return CODES.find((code) => hasCode(error, code));
}

export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  return code === undefined ? describeError(error) : `${code}: ${describeError(error)}`;
}

/** The code and the words of a reason that was written by `reasonOf`. */
export function readReason(reason: string): { code: LastingCode; message: string } | undefined {
  const code = CODES.find((candidate) => reason.startsWith(`${candidate}: `));
  return code === undefined ? undefined : { code, message: reason.slice(code.length + 2) };
}

/**
 * A port that speaks no NBD may be a proxy's serial line: it knows no connections, and what a client that died was still being told
 * is the first that the next one reads. Another port, or the same a moment later, speaks as it should; attempts are bounded.
 */
export const isWorthAnotherPort = (error: unknown): boolean =>
  codeOf(error) === undefined && (!isPermanent(error) || hasCode(error, 'NbdProtocolViolation'));
