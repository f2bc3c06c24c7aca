/**
 * What a seal says, as the text that is signed. Each names the hash of the one before it, so none can be taken out or put in; and
 * each begins where that one ended, so no position stays outside: one that holds no event now was sealed as empty. Pure.
 */
import { hash } from 'node:crypto';

export interface SealStatement {
  /** From 1. */
  readonly seal: number;
  /** The range: positions above `after`, up to `through`. */
  readonly after: number;
  readonly through: number;
  readonly events: number;
  /** SHA-256 over the entries of the range. */
  readonly root: string;
  /** The hash of the statement before; of the first, zeros. */
  readonly previous: string;
  readonly sealedAt: string;
  /** The Ed25519 public key that the signature is held against (RFC 8037 §2, `x`). */
  readonly key: string;
}

export const NO_SEAL = '0'.repeat(64);

export const statementText = (statement: SealStatement): string =>
  `backhaul seal 1
seal ${statement.seal}
after ${statement.after}
through ${statement.through}
events ${statement.events}
root ${statement.root}
previous ${statement.previous}
sealed-at ${statement.sealedAt}
key ${statement.key}
`;

const SHAPE =
  /^backhaul seal 1\nseal (\d+)\nafter (\d+)\nthrough (\d+)\nevents (\d+)\nroot ([0-9a-f]{64})\nprevious ([0-9a-f]{64})\nsealed-at (\S+)\nkey ([\w-]{43})\n$/;

/** Undefined for a text that is no statement. */
export function readStatement(text: string): SealStatement | undefined {
  const found = SHAPE.exec(text);
  if (found === null) return undefined;
  const [seal, after, through, events] = found.slice(1, 5).map(Number) as [number, number, number, number];
  const [root, previous, sealedAt, key] = found.slice(5) as [string, string, string, string];
  return { seal, after, through, events, root, previous, sealedAt, key };
}

export const hashOfStatement = (text: string): string => hash('sha256', text);
