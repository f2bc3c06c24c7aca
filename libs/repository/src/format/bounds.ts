import { Fault, MiB } from '@backhaul/kernel';

/** The most plain bytes one chunk holds (docs/format.md, "Terms"). A reader refuses more, so its memory is bounded. */
export const CHUNK_BYTES_MAX = 4 * MiB;

export const FORMAT_VERSION = 1;

export const DIGEST_PATTERN = /^[0-9a-f]{64}$/;
const BACKUP_ID_PATTERN = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Every name below is built of checked parts alone, so that no input reaches a path outside the repository. */
const checkedDigest = (digest: string): string => {
  if (!DIGEST_PATTERN.test(digest)) {
    throw new Fault(`"${digest}" is not a SHA-256 in lower-case hex`, { permanent: true });
  }
  return digest;
};

export const REPOSITORY_FILE = 'repository.json';
export const chunkName = (digest: string): string => `chunks/${checkedDigest(digest).slice(0, 2)}/${digest}`;
export const mapName = (digest: string): string => `maps/${checkedDigest(digest).slice(0, 2)}/${digest}`;
export const MANIFEST_FOLDER = 'manifests';
export const DAMAGED_FOLDER = 'damaged';
export const HEALED_FOLDER = 'healed';
export const noteName = (folder: string, digest: string): string => `${folder}/${checkedDigest(digest)}.json`;

export function manifestName(backupId: string): string {
  if (!BACKUP_ID_PATTERN.test(backupId)) {
    throw new Fault(`"${backupId}" is not a backup id: it must be a UUID in lower case`, { permanent: true });
  }
  return `${MANIFEST_FOLDER}/${backupId}.json`;
}
