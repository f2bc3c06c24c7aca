/** Most deployments have one host: then nobody has to name it. */
import type { BackhaulClient } from '@backhaul/client';
import { usage } from '../exit.ts';

export async function onlyHost(client: BackhaulClient): Promise<string> {
  const { items } = await client.page('hosts', { limit: 20 });
  const [host, ...others] = items;
  if (host !== undefined && others.length === 0) return host.hostId;
  const known = items.map((each) => each.hostId).join(', ');
  throw usage(
    items.length === 0
      ? 'Which host? None has registered yet. Name one with --host.'
      : `Which host? Name one with --host: ${known}.`,
  );
}
