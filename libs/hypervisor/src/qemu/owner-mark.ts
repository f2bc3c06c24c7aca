/**
 * Whose a folder of VMs is. A host removes what it finds in its folder and knows nothing of (drift), so two deployments over one folder would
 * remove each other's disks of VMs to be. The first one that opens it puts a mark there, `.backhaul-owner.json`; another is refused
 * and told of it. A deployment is known by its state directory, which has its id: processes that share one share their hosts.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { isThere, readState, writeState, writeStateOnce } from '../state-file.ts';

const Deployment = z.object({ schema: z.literal(1), deploymentId: z.string() });
const Mark = z.object({
  schema: z.literal(1),
  deploymentId: z.string(),
  hostId: z.string(),
  stateDirectory: z.string(),
  machine: z.string(),
  since: z.string(),
});

const deploymentIn = (stateDirectory: string): string => join(stateDirectory, 'deployment.json');

/** Throws a permanent Fault with the code `HostOwned` where the folder is another deployment's, or another host's of this one. */
export async function claimFolder(of: {
  readonly folder: string;
  readonly hostId: string;
  readonly stateDirectory: string;
}): Promise<void> {
  const { folder, hostId, stateDirectory } = of;
  const path = join(folder, '.backhaul-owner.json');
  const mark = {
    ...{ schema: 1, deploymentId: await idOf(stateDirectory), hostId, stateDirectory },
    ...{ machine: hostname(), since: new Date().toISOString() },
  } as const;
  if (await writeStateOnce(path, mark)) return;
  const owner = await readState(path, Mark);
  // Removed by somebody in between.
  if (owner === undefined) return await claimFolder(of);
  if (owner.deploymentId === mark.deploymentId && owner.hostId === hostId) return;
  // Its deployment was removed with all its notes: nobody knows any more what it had there.
  if (owner.machine === mark.machine && !(await isThere(deploymentIn(owner.stateDirectory))))
    return await writeState(path, mark);
  const whose = `host ${owner.hostId} of the deployment with the state directory ${owner.stateDirectory} on ${owner.machine}`;
  throw new Fault(
    `Host ${hostId} cannot have the folder ${folder}: it belongs to ${whose}, since ${owner.since}. Give each deployment a folder of its own; where that one is gone for good, remove ${path}`,
    { permanent: true, code: 'HostOwned' },
  );
}

/** Made by whoever comes first. */
async function idOf(stateDirectory: string): Promise<string> {
  const path = deploymentIn(stateDirectory);
  await writeStateOnce(path, { schema: 1, deploymentId: randomUUID() });
  const deployment = await readState(path, Deployment);
  if (deployment === undefined) throw new Fault(`${path} was removed while it was read`);
  return deployment.deploymentId;
}
