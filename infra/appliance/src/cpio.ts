/**
 * Archives as the kernel reads an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst: `newc`). The same
 * entries give the same bytes: sorted by path, owned by root, dated 1970, numbered in order.
 */
export interface ArchiveEntry {
  /** Without a leading slash. */
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  readonly executable?: boolean;
  /** A file's bytes, a link's target. */
  readonly contents?: Buffer;
}

const TYPE = { file: 0o100000, folder: 0o040000, link: 0o120000 } as const;
const HEADER_BYTES = 110;

/** Throws when two entries have the same path. Folders on the way to an entry are made. */
export function writeCpio(entries: readonly ArchiveEntry[]): Buffer {
  const all = new Map<string, ArchiveEntry>();
  for (const entry of entries) {
    const parts = entry.path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      const path = parts.slice(0, depth).join('/');
      if (!all.has(path)) all.set(path, { path, kind: 'folder' });
    }
    if (all.has(entry.path) && entry.kind !== 'folder') throw new Error(`${entry.path} is there twice`);
    all.set(entry.path, entry);
  }
  // By code units, and not as any language sorts: the same on every machine.
  const sorted = [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  const blocks = sorted.flatMap((entry, index) => block(entry, index + 1));
  return Buffer.concat([...blocks, ...block({ path: 'TRAILER!!!', kind: 'file' }, 0)]);
}

function block(entry: ArchiveEntry, inode: number): Buffer[] {
  const contents = entry.contents ?? Buffer.alloc(0);
  const name = Buffer.from(`${entry.path}\0`);
  const permissions = entry.kind === 'file' && entry.executable !== true ? 0o644 : 0o755;
  const trailer = inode === 0;
  const fields = [
    inode,
    trailer ? 0 : TYPE[entry.kind] | permissions,
    0, // owner
    0, // group
    1, // links
    0, // time
    contents.length,
    0, // device, of the file and as the file: major and minor each
    0,
    0,
    0,
    name.length,
    0, // checksum: none in this format
  ];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [header, name, padding(HEADER_BYTES + name.length), contents, padding(contents.length)];
}

/** Header with name, and contents, each end at a multiple of four. */
const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
