/**
 * What goes into the appliance's initramfs, out of the unpacked packages: a shell for the start, the modules of virtio, Lua,
 * nbdkit with two of its parts, the libraries all of these name, and the appliance's own files.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault } from '@backhaul/kernel';
import type { ArchiveEntry } from './cpio.ts';
import { run } from './run.ts';

/** In the order in which they must be loaded. */
const MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_legacy_dev',
  'virtio_pci_modern_dev',
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
];
/** The same, of a VM whose ports are on a network. */
const NETWORK_MODULES = ['failover', 'net_failover', 'virtio_net'];
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';
const LIBRARY_FOLDERS = [LIBRARIES, 'lib/x86_64-linux-gnu'];
const LOADER = 'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2';
/** Path in the tree, path in the guest. */
const PROGRAMS: readonly (readonly [string, string])[] = [
  ['bin/busybox', 'bin/busybox'],
  ['usr/bin/lua5.3', 'bin/lua5.3'],
  ['usr/bin/nbdkit', 'bin/nbdkit'],
];
const LOADED: readonly string[] = [
  `${LIBRARIES}/nbdkit/plugins/nbdkit-file-plugin.so`,
  `${LIBRARIES}/nbdkit/filters/nbdkit-blocksize-policy-filter.so`,
  `${LIBRARIES}/lua/5.3/posix.so`,
];

export async function initramfsEntries(
  root: string,
  guestFiles: ReadonlyMap<string, Buffer>,
): Promise<ArchiveEntry[]> {
  const file = async (from: string, path: string, executable = false): Promise<ArchiveEntry> => ({
    path,
    kind: 'file',
    executable,
    contents: await readFile(join(root, from)),
  });
  const linked = [...PROGRAMS.map(([from]) => from).filter((from) => !from.endsWith('busybox')), ...LOADED];
  const modules = await modulePaths(root);
  return [
    ...(await Promise.all(PROGRAMS.map(([from, path]) => file(from, path, true)))),
    { path: 'bin/sh', kind: 'link', contents: Buffer.from('busybox') },
    ...(await Promise.all(LOADED.map((path) => file(path, path)))),
    await file(LOADER, 'lib64/ld-linux-x86-64.so.2', true),
    ...(await libraries(root, linked)),
    ...(await Promise.all([...modules].map(([name, path]) => file(path, `lib/modules/${name}.ko`)))),
    order('order', MODULES),
    order('network-order', NETWORK_MODULES),
    ...[...guestFiles].map(
      ([name, contents]): ArchiveEntry =>
        name === 'init'
          ? { path: 'init', kind: 'file', executable: true, contents }
          : { path: `lib/appliance/${name}`, kind: 'file', contents },
    ),
  ];
}

const order = (name: string, modules: readonly string[]): ArchiveEntry => ({
  path: `lib/modules/${name}`,
  kind: 'file',
  contents: Buffer.from(`${modules.join('\n')}\n`),
});

async function modulePaths(root: string): Promise<Map<string, string>> {
  const all = await readdir(join(root, 'lib/modules'), { recursive: true });
  return new Map(
    [...MODULES, ...NETWORK_MODULES].map((name) => {
      const found = all.find((path) => path.endsWith(`/${name}.ko`));
      if (found === undefined)
        throw new Fault(`The kernel's package has no module ${name}`, { permanent: true });
      return [name, `lib/modules/${found}`];
    }),
  );
}

/** The libraries that these files need, and that those need, by the unpacked loader's own answer. */
export async function libraries(root: string, files: readonly string[]): Promise<ArchiveEntry[]> {
  const searched = LIBRARY_FOLDERS.map((folder) => join(root, folder)).join(':');
  const found = new Map<string, string>();
  for (const path of files) {
    const answer = await run(join(root, LOADER), [
      '--inhibit-cache',
      '--library-path',
      searched,
      '--list',
      join(root, path),
    ]);
    for (const [, name = '', target = ''] of answer.matchAll(/^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$/gm)) {
      if (name.includes('/ld-linux')) continue;
      if (!target.startsWith(`${root}/`)) {
        throw new Fault(
          `${basename(path)} needs ${name}, which no package of the appliance has (${target})`,
          {
            permanent: true,
          },
        );
      }
      found.set(name, target);
    }
  }
  return await Promise.all(
    [...found].map(async ([name, target]): Promise<ArchiveEntry> => {
      return { path: `${LIBRARIES}/${name}`, kind: 'file', contents: await readFile(target) };
    }),
  );
}
