/** The key that seals are signed with: a file that only its owner can read, made at the first start, and never sent anywhere. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import { link, open, readFile, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '@backhaul/kernel';

export interface SealKey {
  /** As statements name it. */
  readonly publicKey: string;
  sign(text: string): Buffer;
}

/** Makes the file where there is none; of several that do so at once, one wins and all use its key. */
export async function openSealKey(path: string): Promise<SealKey> {
  try {
    if (!(await exists(path))) await makeKeyFile(path);
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      const found = (mode & 0o777).toString(8).padStart(4, '0');
      throw new Fault(`others than its owner may use it: its mode is ${found} and must be 0600`, {
        permanent: true,
      });
    }
    const key = createPrivateKey(await readFile(path));
    if (key.asymmetricKeyType !== 'ed25519')
      throw new Fault(`it holds a key of type ${key.asymmetricKeyType}, not ed25519`, { permanent: true });
    const publicKey = createPublicKey(key).export({ format: 'jwk' }).x ?? '';
    return { publicKey, sign: (text) => sign(null, Buffer.from(text), key) };
  } catch (cause) {
    throw new Fault(`The key for seals in ${path} cannot be used`, { cause, permanent: true });
  }
}

export function isSignedBy(publicKey: string, text: string, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' });
    return verify(null, Buffer.from(text), key, signature);
  } catch {
    return false;
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );

/** Whole and durable before it has its name: a key that signed anything must not be lost by a crash. */
async function makeKeyFile(path: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const draft = `${path}.${randomUUID()}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft);
  }
  const folder = await open(dirname(path));
  await folder.sync().finally(() => folder.close());
}
