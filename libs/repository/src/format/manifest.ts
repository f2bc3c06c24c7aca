/**
 * The bytes of a manifest and of `repository.json` (docs/format.md). Both are JSON in one canonical form; a manifest
 * carries a checksum of itself, so that bit rot is found with nothing but the repository at hand.
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { Manifest, StoredManifest } from '../repository.ts';
import { DIGEST_PATTERN, FORMAT_VERSION } from './bounds.ts';
import { digestOf } from './chunk-file.ts';

/** A manifest names disks and digests; 1 MiB holds thousands of disks. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;

const Digest = z.string().regex(DIGEST_PATTERN, 'must be a SHA-256 in lower-case hex');

/** What files and exports are called after: no name leads to another folder. */
const Name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
    'must be 1 to 63 letters, digits, "-" or "_", starting with a letter or digit',
  );

/** Keys that a later release of this format version adds are left out when reading, and covered by the checksum. */
const ManifestSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  backupId: z.uuid(),
  hostId: Name,
  vmId: Name,
  kind: z.enum(['full', 'incremental']),
  takenAt: z.iso.datetime(),
  parentBackupId: z.uuid().nullable(),
  disks: z
    .array(z.object({ diskId: Name, sizeBytes: z.int().nonnegative(), mapDigest: Digest }))
    .refine((disks) => new Set(disks.map(({ diskId }) => diskId)).size === disks.length, {
      error: 'names a disk twice',
    }),
});

const RepositorySchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  repositoryId: z.uuid(),
  createdAt: z.iso.datetime(),
});
export type RepositoryFile = z.infer<typeof RepositorySchema>;

/** UTF-8 JSON with sorted keys, two spaces of indentation and a newline at the end: equal values are equal bytes. */
export function canonicalJson(value: unknown): Uint8Array<ArrayBuffer> {
  const sorted = (_key: string, item: unknown): unknown =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item;
  return new TextEncoder().encode(`${JSON.stringify(value, sorted, 2)}\n`);
}

export function encodeManifest(manifest: Manifest): { bytes: Uint8Array<ArrayBuffer>; digest: string } {
  const checked = fits(ManifestSchema, manifest, 'cannot be written');
  const bytes = canonicalJson({ ...checked, checksum: digestOf(canonicalJson(checked)) });
  return { bytes, digest: digestOf(bytes) };
}

/** Throws a permanent Fault with the reason; the caller names the file. */
export function decodeManifest(bytes: Uint8Array): StoredManifest {
  const { checksum, ...content } = readJson(bytes, 'the manifest');
  checkVersion(content, 'the manifest');
  const found = digestOf(canonicalJson(content));
  if (checksum !== found) throw bad(`the manifest does not fit its checksum`);
  return { manifest: fits(ManifestSchema, content, 'is not valid'), digest: digestOf(bytes) };
}

export const encodeRepositoryFile = (file: RepositoryFile): Uint8Array<ArrayBuffer> => canonicalJson(file);

export function decodeRepositoryFile(bytes: Uint8Array): RepositoryFile {
  const content = readJson(bytes, 'the file');
  checkVersion(content, 'the file');
  return fits(RepositorySchema, content, 'is not valid');
}

function readJson(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw bad(`${what} is not JSON`, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad(`${what} is not a JSON object`);
  }
  return { ...value };
}

/** Before anything else: a newer format may mean anything by the rest. */
function checkVersion(content: Record<string, unknown>, what: string): void {
  if (content.formatVersion === FORMAT_VERSION) return;
  throw bad(
    `${what} is of format version ${JSON.stringify(content.formatVersion)}; this release reads ${FORMAT_VERSION}`,
  );
}

function fits<T>(schema: z.ZodType<T>, value: unknown, otherwise: string): T {
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  throw bad(`it ${otherwise}: ${z.prettifyError(checked.error)}`);
}

const bad = (reason: string, cause?: unknown): Fault => new Fault(reason, { permanent: true, cause });
