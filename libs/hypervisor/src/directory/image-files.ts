/**
 * Which files an image is made of, as one word: two images of different words are different disks, whatever their names. A number
 * alone would not do: file systems give those of removed files away again, and two of them have the same ones.
 *
 *   1311768+1732400000123456789<1311700+1732300000123456789@1732300000987654321
 *   inode and birth of the image, then of each that it is based on, with the time of its last write: no bitmap tells of that
 *
 * Where a file system knows no births there is none, and files of unknown birth are told apart by their number.
 */
import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';

export async function filesOf(path: string, backing: readonly string[]): Promise<string> {
  const own = await fileAt(path);
  const parts = [own === undefined ? path : markOf(own)];
  for (const base of backing) {
    const found = await fileAt(base);
    // What is no file here (an NBD export, say) has nothing but its name.
    parts.push(found?.isFile() === true ? `${markOf(found)}@${found.mtimeNs}` : base);
  }
  return parts.join('<');
}

const fileAt = async (path: string): Promise<BigIntStats | undefined> =>
  isAbsolute(path) ? await stat(path, { bigint: true }).catch(() => undefined) : undefined;

/** Systems that cannot be asked for a birth answer with nothing, or with the time of the last change. */
const markOf = ({ ino, birthtimeNs, ctimeNs }: BigIntStats): string =>
  birthtimeNs === 0n || birthtimeNs === ctimeNs ? String(ino) : `${ino}+${birthtimeNs}`;

const BIRTH = /\+\d+(?=@|$)/;

/** Births count where both are known. */
export function sameFiles(one: string, other: string): boolean {
  const [ours, theirs] = [one.split('<'), other.split('<')];
  return (
    ours.length === theirs.length && ours.every((part, index) => samePart(part, theirs[index] as string))
  );
}

function samePart(one: string, other: string): boolean {
  if (BIRTH.test(one) && BIRTH.test(other)) return one === other;
  return one.replace(BIRTH, '') === other.replace(BIRTH, '');
}

/** What an image is based on and is no file here; undefined where all of it is. Nobody would tell if that changed. */
export const unseenBase = (files: string): string | undefined =>
  files
    .split('<')
    .slice(1)
    .find((part) => !/^\d+(\+\d+)?@\d+$/.test(part));
