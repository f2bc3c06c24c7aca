/**
 * The backup that a person means, as the console knows it: by its id, by a beginning of it, or by the VM (`vm` or `host/vm`) for the
 * newest restore point of it. The same words as `restore` and `mount` take, which ask the repository.
 */
import { type BackhaulClient, ProblemFault } from '@backhaul/client';
import { failed, usage } from '../exit.ts';

export interface FoundBackup {
  readonly backupId: string;
  /** The VM that it was. */
  readonly vmId: string;
}

type Console = Pick<BackhaulClient, 'all' | 'backup' | 'page'>;

export async function findBackup(client: Console, name: string): Promise<FoundBackup> {
  const [byId, ofVm] = [await byItsId(client, name), await newestOf(client, name)];
  if (byId !== undefined && ofVm.length > 0)
    throw usage(
      `${name} is the beginning of backup ${byId.backupId}, and a VM. Give more of the id, or <host>/${name}.`,
    );
  if (byId !== undefined) return byId;
  if (ofVm.length > 1)
    throw usage(
      `There is a VM ${name} on several hosts. Name one: ${ofVm.map(({ hostId }) => `${hostId}/${name}`).join(', ')}.`,
    );
  const [newest] = ofVm;
  if (newest !== undefined) return newest;
  throw failed(
    `There is no backup ${name}, and no VM of that name with a restore point. "backhaul backups --state completed" lists what can be recovered.`,
  );
}

async function byItsId(client: Console, name: string): Promise<FoundBackup | undefined> {
  try {
    const { backupId, vmId } = await client.backup(name);
    return { backupId, vmId: vmId ?? '' };
  } catch (error) {
    // 400: it is no id at all, and so perhaps a VM.
    if (error instanceof ProblemFault && [400, 404].includes(error.problem.status)) return undefined;
    throw error;
  }
}

/** One for each host that has a VM of the name. A backup is a restore point from the moment it completed. */
async function newestOf(
  client: Console,
  name: string,
): Promise<(FoundBackup & { readonly hostId: string })[]> {
  const found = [];
  for await (const { hostId, vmId } of client.all('vms')) {
    if (vmId !== name && `${hostId}/${vmId}` !== name) continue;
    const query = { host: hostId, vm: vmId, state: 'completed', limit: 1 };
    const [newest] = (await client.page('backups', query)).items;
    if (newest !== undefined) found.push({ hostId, vmId, backupId: newest.backupId });
  }
  return found;
}
