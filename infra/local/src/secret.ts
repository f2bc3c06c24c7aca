/**
 * The one secret of a deployment on this machine, which all its passwords are derived from: made once, in a file that only its owner can
 * read, and kept as long as the data that it protects.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@backhaul/kernel';

const SECRET_BYTES = 32;

/** The password of each name, from a secret that is known already. */
export const derivedFrom =
  (secret: string) =>
  (name: string): string =>
    createHmac('sha256', secret).update(name).digest('base64url');

/** Answers the password of each name: letters, digits, `-` and `_`, so that it stands in any URL as it is. */
export async function passwordsOf(directory: string): Promise<(name: string) => string> {
  const path = join(directory, 'secret');
  await writeFile(path, `${randomBytes(SECRET_BYTES).toString('base64url')}\n`, {
    mode: 0o600,
    flag: 'wx',
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const secret = (await readFile(path, 'utf8')).trim();
  if (secret.length < SECRET_BYTES)
    throw new Fault(
      `${path} was cut off. Remove it: the next start makes a new one, and PostgreSQL and NATS are told`,
      {
        permanent: true,
      },
    );
  return derivedFrom(secret);
}
