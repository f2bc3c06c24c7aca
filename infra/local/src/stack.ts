/**
 * Everything on one machine: PostgreSQL and NATS of our own or those that are named, the schema, and every service as its own
 * process. For `backhaul up`, the demo and the end-to-end tests; production runs the same `main.ts` under its own supervisor.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HostConfiguration, Service } from '@backhaul/contracts';
import { migrate, serviceUrl } from '@backhaul/event-store';
import { openHost } from '@backhaul/hypervisor';
import { type LocalNats, startNats } from './nats.ts';
import { type LocalPostgres, startPostgres } from './postgres.ts';
import { derivedFrom, passwordsOf } from './secret.ts';
import { ServiceProcess } from './service-process.ts';
import { supervise } from './supervise.ts';

export interface StackOptions {
  /** Where everything of the stack lives: logs, sockets, and the data of its own servers. Keep it short: sockets are in it. */
  readonly directory: string;
  readonly hosts: readonly HostConfiguration[];
  readonly repository: string;
  /** Where the appliance was built to, for hosts of kind qemu. */
  readonly applianceDirectory?: string | undefined;
  /** Servers that exist already; without them the stack starts its own. */
  readonly postgresUrl?: string | undefined;
  readonly natsUrl?: string | undefined;
  /** What trigger and console ask of whoever asks them; without it, one from the secret of the directory. */
  readonly apiToken?: string | undefined;
  /** Keep the data of the stack's own servers when it stops. */
  readonly keep?: boolean;
  /** Server settings for the stack's own PostgreSQL. */
  readonly postgresSettings?: readonly string[];
  /** More environment variables for every service. */
  readonly environment?: Record<string, string>;
  /** Start a service again when it ends by itself, as a supervisor does. */
  readonly supervise?: boolean;
  readonly services?: readonly Service[];
}

export interface Stack {
  readonly adminUrl: string;
  readonly natsUrl: string;
  readonly nats: LocalNats | undefined;
  readonly repository: string;
  readonly stateDirectory: string;
  readonly services: ReadonlyMap<Service, ServiceProcess>;
  readonly triggerUrl: string;
  readonly consoleUrl: string;
  /** What both of them are to be shown. */
  readonly apiToken: string;
  /** As the console logs in. */
  readonly consolePostgresUrl: string;
  /** The key that the console seals the log with. */
  readonly sealKeyFile: string;
  stop(): Promise<void>;
}

const ALL: readonly Service[] = ['proxy-manager', 'ingest', 'export', 'planner', 'trigger', 'console'];

export async function startStack(options: StackOptions): Promise<Stack> {
  const { directory } = options;
  const stateDirectory = join(directory, 's');
  // Guests' data: nobody else's to read, whatever the umask of whoever starts us.
  for (const own of [stateDirectory, options.repository]) await mkdir(own, { recursive: true, mode: 0o700 });
  const stops: (() => Promise<unknown>)[] = [];
  let stopping = false;
  const stop = async (): Promise<void> => {
    stopping = true;
    // In the reverse order: services before the servers they need. One that fails to end does not keep the others up.
    const failures: unknown[] = [];
    for (const end of stops.reverse()) await end().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw new AggregateError(failures, 'The stack did not end cleanly');
  };
  try {
    const passwordOf = await passwordsOf(directory);
    const postgres =
      options.postgresUrl === undefined ? await ownPostgres(options, passwordOf('postgres')) : undefined;
    if (postgres !== undefined) stops.push(() => postgres.stop());
    const nats =
      options.natsUrl === undefined
        ? await startNats({ directory: join(directory, 'nats'), token: passwordOf('nats') })
        : undefined;
    if (nats !== undefined) stops.push(() => nats.stop({ keep: options.keep === true }));
    const adminUrl = options.postgresUrl ?? (await postgres?.database('backhaul')) ?? '';
    // Roles are a server's, not a database's: whoever else starts a stack on this one gives them the same passwords.
    const rolePassword =
      options.postgresUrl === undefined ? passwordOf : derivedFrom(new URL(options.postgresUrl).password);
    const natsUrl = options.natsUrl ?? nats?.url ?? '';
    const apiToken = options.apiToken ?? passwordOf('api');
    await migrate({ adminUrl, rolePassword });
    const sealKeyFile = join(directory, 'seal-key.pem');

    const services = new Map<Service, ServiceProcess>();
    for (const name of options.services ?? ALL) {
      const service = new ServiceProcess(name, {
        main: fileURLToPath(new URL(`../../../services/${name}/src/main.ts`, import.meta.url)),
        logFile: join(directory, `${name}.log`),
        readyFile: join(directory, `${name}.ready.json`),
        environment: {
          BACKHAUL_POSTGRES_URL: serviceUrl(adminUrl, name, rolePassword(name)),
          BACKHAUL_NATS_URL: natsUrl,
          BACKHAUL_HOSTS: JSON.stringify(options.hosts),
          BACKHAUL_STATE_DIRECTORY: stateDirectory,
          BACKHAUL_REPOSITORY: options.repository,
          BACKHAUL_SEAL_KEY_FILE: sealKeyFile,
          BACKHAUL_API_TOKEN: apiToken,
          // What services that work at files would start themselves anew for, half a second each (libs/service, file-threads.ts).
          UV_THREADPOOL_SIZE: '128',
          ...(options.applianceDirectory === undefined
            ? {}
            : { BACKHAUL_APPLIANCE_DIRECTORY: options.applianceDirectory }),
          ...options.environment,
        },
      });
      services.set(name, service);
    }
    stops.push(() => leaveHosts(options, stateDirectory));
    stops.push(() => Promise.all([...services.values()].map((service) => service.stop())));
    await Promise.all([...services.values()].map((service) => service.start()));
    if (options.supervise === true)
      for (const service of services.values())
        void supervise(service, { stopping: () => stopping, say: (line) => console.error(line) });
    return {
      adminUrl,
      natsUrl,
      nats,
      repository: options.repository,
      stateDirectory,
      services,
      triggerUrl: services.get('trigger')?.url ?? '',
      consoleUrl: services.get('console')?.url ?? '',
      apiToken,
      consolePostgresUrl: serviceUrl(adminUrl, 'console', rolePassword('console')),
      sealKeyFile,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Proxies and snapshots outlive the services that asked for them, on purpose. A stack that ends takes its proxies with it; its
 * snapshots too, unless it will be started again and go on with them.
 */
async function leaveHosts(options: StackOptions, stateDirectory: string): Promise<void> {
  // One that cannot be opened or left keeps none of the others.
  const left = await Promise.allSettled(
    options.hosts.map((host) => leaveHost(host, options, stateDirectory)),
  );
  const failures = left.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
  if (failures.length > 0) throw new AggregateError(failures);
}

async function leaveHost(
  configured: HostConfiguration,
  { applianceDirectory, keep = false }: StackOptions,
  stateDirectory: string,
): Promise<void> {
  const host = await openHost({ ...configured, stateDirectory, applianceDirectory });
  try {
    const { proxies, snapshots, targets } = await host.observe();
    for (const { proxyId } of proxies) await host.deactivateProxy(proxyId);
    if (keep) return;
    for (const { snapshotId, vmId } of snapshots) await host.releaseSnapshot(snapshotId, vmId, 'discarded');
    for (const { targetId, vmId } of targets) await host.discardTarget(targetId, vmId);
  } finally {
    await host.close();
  }
}

const ownPostgres = (options: StackOptions, password: string): Promise<LocalPostgres> =>
  startPostgres({
    directory: join(options.directory, 'pg'),
    password,
    keep: options.keep === true,
    ...(options.postgresSettings === undefined ? {} : { settings: options.postgresSettings }),
  });
