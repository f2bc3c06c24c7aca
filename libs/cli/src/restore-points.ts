/** Restore points as a repository has them: found by what people know of them, and listed, with no service to ask. */
import { formatBytes } from '@backhaul/kernel';
import type { Manifest, Repository, StoredManifest } from '@backhaul/repository';
import { failed, usage } from './exit.ts';
import { moment, shortId, table } from './table.ts';
import { json, type Terminal } from './terminal.ts';

/**
 * By the whole id, by a beginning of it that no other restore point has, or by the VM (`vm` or `host/vm`): then the newest of
 * it. `note` is told when that newest one may not be the newest, because others cannot be read.
 */
export async function findManifest(
  repository: Repository,
  name: string,
  note: (line: string) => void = () => {},
): Promise<Manifest> {
  const { manifests, damaged } = await repository.listManifests();
  const byId = manifests.filter(({ manifest }) => manifest.backupId.startsWith(name.toLowerCase()));
  const ofVm = manifests.filter(
    ({ manifest: { hostId, vmId } }) => vmId === name || `${hostId}/${vmId}` === name,
  );
  const ids = (found: readonly StoredManifest[]): string =>
    found.map(({ manifest }) => manifest.backupId).join(', ');
  if (byId.length > 1)
    throw usage(`${name} is the beginning of several restore points: ${ids(byId)}. Give more of the id.`);
  if (byId[0] !== undefined && ofVm.length > 0)
    throw usage(
      `${name} is the beginning of restore point ${ids(byId)}, and a VM. Give more of the id, or <host>/${name}.`,
    );
  if (byId[0] !== undefined) return byId[0].manifest;

  const hosts = new Set(ofVm.map(({ manifest }) => manifest.hostId));
  if (hosts.size > 1)
    throw usage(
      `There is a VM ${name} on several hosts. Name one: ${[...hosts].map((host) => `${host}/${name}`).join(', ')}.`,
    );
  // Listed from the oldest to the newest.
  const newest = ofVm.at(-1);
  if (newest !== undefined) {
    if (damaged.length > 0)
      note(`${damaged.length} manifests cannot be read: there may be a newer restore point of ${name}.`);
    return newest.manifest;
  }
  const broken = damaged.find(({ file }) => file.includes(name));
  if (broken !== undefined) throw failed(`The manifest ${broken.file} is damaged: ${broken.reason}.`);
  throw failed(
    `There is no restore point ${name} in ${repository.location}. "backhaul restore" lists what is there; a backup that did not complete has none.`,
  );
}

/** Of each VM, the newest first; and what cannot be read. */
export async function showRestorePoints(
  repository: Repository,
  flags: { readonly json?: boolean },
  terminal: Terminal,
): Promise<void> {
  const { manifests, damaged } = await repository.listManifests();
  const points = manifests
    .map(({ manifest }) => manifest)
    .sort((a, b) => order(a.hostId, b.hostId) || order(a.vmId, b.vmId) || order(b.takenAt, a.takenAt));
  if (flags.json === true) {
    terminal.out(json({ repository: repository.location, restorePoints: points, damaged }));
    return;
  }
  if (points.length === 0) terminal.out(`There are no restore points in ${repository.location}.`);
  else for (const line of table(columns, points)) terminal.out(line);
  for (const { file, reason } of damaged) terminal.note(`${file} cannot be read: ${reason}`);
}

const columns = [
  { title: 'BACKUP', value: (point: Manifest) => shortId(point.backupId) },
  { title: 'HOST', value: (point: Manifest) => point.hostId },
  { title: 'VM', value: (point: Manifest) => point.vmId },
  { title: 'TAKEN (UTC)', value: (point: Manifest) => moment(point.takenAt) },
  { title: 'KIND', value: (point: Manifest) => point.kind },
  {
    title: 'DISKS',
    value: (point: Manifest) =>
      point.disks.map(({ diskId, sizeBytes }) => `${diskId} (${formatBytes(sizeBytes)})`).join(', '),
  },
];

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
