/** `backhaul up`: everything on this machine, until it is told to stop. */

import { mkdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type BackhaulClient, backhaulClient } from '@backhaul/client';
import { markOf } from '@backhaul/hypervisor';
import { withoutNatsPassword } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { failed, usage } from '../exit.ts';
import { readHost, withProxyNetworks } from '../host-flags.ts';
import { isUp } from '../is-up.ts';
import { inOwnSession, isOwnSession, untilParentIsGone } from '../own-session.ts';
import { readStackFile, removeStackFile, stackFilePath, writeStackFile } from '../stack-file.ts';

export interface UpFlags {
  /** `name=folder` or `name=qemu:folder`, once for each. */
  readonly host: readonly string[];
  /** `name=bridge,addresses`, and more (readProxyNetwork), once for each host. */
  readonly proxyNetwork: readonly string[];
  readonly directory?: string;
  readonly repository?: string;
  readonly postgresUrl?: string;
  readonly natsUrl?: string;
}

export async function up(flags: UpFlags, context: CommandContext): Promise<void> {
  const { environment, signal } = context;
  if (!isOwnSession(environment)) return await inOwnSession(environment, signal);
  await untilParentIsGone(signal, (stopAsked) => runStack(flags, { ...context, signal: stopAsked }));
}

async function runStack(flags: UpFlags, { terminal, environment, signal }: CommandContext): Promise<void> {
  const hosts = withProxyNetworks(flags.host.map(readHost), flags.proxyNetwork);
  if (hosts.length === 0)
    throw usage(
      'Which machines? Name a folder of disk images with --host, such as --host lab=/srv/images, or one of QMP sockets: --host lab=qemu:/run/vms.',
    );
  const stackFile = stackFilePath(environment);
  const before = await readStackFile(stackFile);
  if (before !== undefined && (await isUp(before))) {
    throw failed(
      `Backhaul is up already (process ${before.pid}, ${stackFile}). Stop it first, or set BACKHAUL_STACK_FILE to have a second one. If that process is none of Backhaul's, remove the file.`,
    );
  }
  // PostgreSQL does not run as root, and the user it runs as may not look into /root.
  const home = process.getuid?.() === 0 ? '/var/lib/backhaul' : join(homedir(), '.backhaul');
  const directory = resolve(flags.directory ?? home);
  const repository = resolve(
    flags.repository ?? (environment.BACKHAUL_REPOSITORY || join(directory, 'repository')),
  );
  await mkdir(directory, { recursive: true });
  if (flags.postgresUrl === undefined) await assertOpenToPostgres(directory);
  terminal.note(`Starting in ${directory} ...`);
  const applianceDirectory = await applianceFor(hosts, environment, (text) => terminal.note(text));
  const { startStack } = await import('@backhaul/local');
  const stack = await startStack({
    directory,
    repository,
    hosts,
    applianceDirectory,
    postgresUrl: flags.postgresUrl ?? (environment.BACKHAUL_POSTGRES_URL || undefined),
    natsUrl: flags.natsUrl ?? (environment.BACKHAUL_NATS_URL || undefined),
    apiToken: environment.BACKHAUL_API_TOKEN || undefined,
    keep: true,
    supervise: true,
  });
  try {
    const { consoleUrl, triggerUrl, apiToken, natsUrl, sealKeyFile, consolePostgresUrl: postgresUrl } = stack;
    const services = { consoleUrl, triggerUrl, apiToken, natsUrl, repository };
    const started = (await markOf(process.pid))?.started;
    await writeStackFile(stackFile, { pid: process.pid, started, ...services, postgresUrl, sealKeyFile });
    terminal.out('Backhaul is up.');
    terminal.out(`  console     ${consoleUrl}/api/v1`);
    terminal.out(
      `  trigger     ${triggerUrl}/api/v1 (other programs show the token of both: apiToken in ${stackFile})`,
    );
    terminal.out(
      `  NATS        ${withoutNatsPassword(natsUrl)} (upstream systems log in: natsUrl in ${stackFile})`,
    );
    terminal.out(`  repository  ${repository}`);
    for (const { hostId, kind, address } of hosts)
      terminal.out(`  host        ${hostId} (${kind}: ${address})`);
    for (const { hostId, proxyNetwork } of hosts) {
      if (proxyNetwork === undefined) continue;
      const { bridge, addresses } = proxyNetwork;
      terminal.out(`  ports       of proxies of ${hostId} over TCP at ${addresses} (bridge ${bridge})`);
    }
    terminal.out('Try: backhaul backup <vm> --wait. Stop with Ctrl-C.');
    if (!signal.aborted) await new Promise((wake) => signal.addEventListener('abort', wake));
    terminal.note('Stopping ...');
    const owed = await stillOwed(backhaulClient(stack));
    if (owed.length > 0)
      terminal.note(`Left at the hosts, to be found at the next start: ${owed.join(', ')}.`);
  } finally {
    await removeStackFile(stackFile);
    await stack.stop();
  }
}

/** Proxies wait for the next backup, and a backup may be under way: what they hold outlives the services by design. */
async function stillOwed(client: BackhaulClient): Promise<string[]> {
  try {
    const { items } = await client.page('obligations', { limit: 20 });
    return items.map((obligation) => obligation.subject);
  } catch {
    // A console that is in trouble is no reason not to stop.
    return [];
  }
}

/** As root, PostgreSQL runs as the user `postgres`, who must be able to walk down to its data. */
async function assertOpenToPostgres(directory: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  for (let folder = dirname(directory); folder !== dirname(folder); folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) {
      throw usage(
        `PostgreSQL runs as the user postgres, who may not enter ${folder}. Give another --directory, or allow it: chmod o+x ${folder}`,
      );
    }
  }
}

/** What proxy VMs boot: where it was built to, or built now, which takes a while once. */
async function applianceFor(
  hosts: readonly { kind: string }[],
  environment: NodeJS.ProcessEnv,
  note: (text: string) => void,
): Promise<string | undefined> {
  if (!hosts.some(({ kind }) => kind === 'qemu')) return undefined;
  if (environment.BACKHAUL_APPLIANCE_DIRECTORY) return resolve(environment.BACKHAUL_APPLIANCE_DIRECTORY);
  note(
    'Making sure that the appliance of the proxy VMs is built (once, some 10 seconds and 50 MB of packages) ...',
  );
  const { buildAppliance } = await import('@backhaul/appliance');
  return (await buildAppliance()).directory;
}
