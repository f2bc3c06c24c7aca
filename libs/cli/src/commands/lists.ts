/** The lists of the console as tables: backups, recoveries, VMs, hosts, proxies, obligations, schedules, policies, dead letters. */
import type { ListQuery } from '@backhaul/client';
import { type consoleApi, defaultPolicy, type Purpose } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import { summaryLine } from '@backhaul/planning';
import type { CommandContext } from '../command.ts';
import { duration, moment, shortId, type TableColumn, table } from '../table.ts';
import { json } from '../terminal.ts';

type Item<L extends consoleApi.ListName> = consoleApi.ListItem<L>;
type Columns = { readonly [L in consoleApi.ListName]?: readonly TableColumn<Item<L>>[] };

const columns = {
  backups: [
    { title: 'BACKUP', value: (row) => shortId(row.backupId) },
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'VM', value: (row) => row.vmId },
    { title: 'STATE', value: (row) => row.state },
    { title: 'KIND', value: (row) => row.kind },
    { title: 'MODE', value: (row) => row.mode },
    { title: 'READ', value: (row) => formatBytes(row.readBytes), right: true },
    { title: 'STORED', value: (row) => formatBytes(row.storedBytes), right: true },
    { title: 'JOBS', value: (row) => `${row.childJobsDone}/${row.childJobs}`, right: true },
    { title: 'PORTS HELD', value: portTimeOf, right: true },
    { title: 'REQUESTED (UTC)', value: (row) => moment(row.requestedAt) },
    { title: 'WHY NOT', value: (row) => row.refusal?.message ?? '' },
  ],
  recoveries: [
    { title: 'RECOVERY', value: (row) => shortId(row.recoveryId) },
    { title: 'BACKUP', value: (row) => row.backupId && shortId(row.backupId) },
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'VM', value: (row) => row.vmId },
    { title: 'STATE', value: (row) => row.state },
    { title: 'MODE', value: (row) => row.mode },
    {
      title: 'WRITTEN',
      value: (row) => `${formatBytes(row.writtenBytes)} of ${formatBytes(row.bytesToWrite)}`,
      right: true,
    },
    { title: 'STREAMS', value: (row) => `${row.dataStreamsDone}/${row.dataStreams}`, right: true },
    { title: 'PORTS HELD', value: portTimeOf, right: true },
    { title: 'RUNS', value: (row) => (row.started === null ? null : row.started ? 'yes' : 'no') },
    { title: 'REQUESTED (UTC)', value: (row) => moment(row.requestedAt) },
    { title: 'WHY NOT', value: (row) => row.refusal?.message ?? row.notStarted ?? '' },
  ],
  vms: [
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'VM', value: (row) => row.vmId },
    { title: 'LAST RESTORE POINT (UTC)', value: (row) => moment(row.lastRestorePointAt) },
    { title: 'LAST', value: (row) => row.lastOutcome },
    { title: 'LAST BACKUP', value: (row) => row.lastBackupId && shortId(row.lastBackupId) },
    { title: 'RUNNING', value: (row) => row.running && turnOf(row.running) },
    { title: 'QUEUED', value: (row) => row.queued.length, right: true },
  ],
  proxies: [
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'PROXY', value: (row) => row.proxyId },
    { title: 'STATE', value: (row) => row.state },
    {
      title: 'PORTS',
      value: (row) =>
        row.ports
          .map(
            (port) => `${port.port}:${port.heldBy === null ? 'free' : holderOf(port.heldBy, port.purpose)}`,
          )
          .join(' '),
    },
    {
      title: 'DISKS',
      value: (row) => row.attachments.map((disk) => `${shortId(disk.runId)}.${disk.diskId}`).join(' '),
    },
    { title: 'HEALTH', value: (row) => row.health },
    { title: 'SPEED', value: speedOf, right: true },
    { title: 'UP', value: upTimeOf, right: true },
    { title: 'LEASES', value: (row) => row.leasesServed, right: true },
    { title: 'RUNS', value: (row) => row.cost?.runs, right: true },
    {
      title: 'PORTS HELD',
      value: (row) => row.cost && duration(row.cost.busyPortSeconds * 1000),
      right: true,
    },
    {
      title: 'WHY',
      value: (row) => (row.health === 'good' ? row.reason : `${row.healthDetail}; ${row.reason}`),
    },
  ],
  hosts: [
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'KIND', value: (row) => row.kind },
    { title: 'ADDRESS', value: (row) => row.address },
    { title: 'OPEN RUNS', value: (row) => row.openRuns, right: true },
    { title: 'PROXIES GONE', value: (row) => row.proxyCost.proxies, right: true },
    { title: 'THEY WERE UP', value: (row) => duration(row.proxyCost.upSeconds * 1000), right: true },
    { title: 'PORTS HELD', value: (row) => duration(row.proxyCost.busyPortSeconds * 1000), right: true },
    { title: 'DRIFTS', value: (row) => row.drifts, right: true },
    { title: 'LAST DRIFT', value: (row) => row.lastDrift && driftLine(row.lastDrift) },
  ],
  obligations: [
    { title: 'KIND', value: (row) => row.kind },
    { title: 'STATE', value: (row) => row.state },
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'FOR', value: (row) => shortId(row.runId) },
    { title: 'WHAT', value: (row) => row.subject },
    { title: 'SINCE (UTC)', value: (row) => moment(row.openedAt) },
    { title: 'UNTIL', value: (row) => row.closedBy },
  ],
  schedules: [
    { title: 'SCHEDULE', value: (row) => row.scheduleId },
    { title: 'CRON', value: (row) => row.cron },
    { title: 'TIME ZONE', value: (row) => row.timeZone },
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'VM', value: (row) => row.vmId },
    { title: 'KIND', value: (row) => row.kind },
    { title: 'POLICY', value: (row) => row.policyId },
    { title: 'FIRED', value: (row) => row.fired, right: true },
    { title: 'LAST (UTC)', value: (row) => moment(row.lastDueAt) },
    {
      title: 'SET BACK (UTC)',
      value: (row) =>
        row.setBackAt === null ? '' : `${moment(row.setBackAt)} from ${moment(row.setBackFrom)}`,
    },
  ],
  'shadow-plans': [
    { title: 'CALCULATED (UTC)', value: (row) => moment(row.calculatedAt) },
    { title: 'RUN', value: (row) => `${shortId(row.runId)}${markOf(row.purpose)}` },
    { title: 'HOST', value: (row) => row.hostId },
    { title: 'VM', value: (row) => row.vmId },
    { title: 'POLICY', value: (row) => row.livePolicyId },
    { title: 'PLAN', value: (row) => summaryLine(row.live, row.purpose) },
    { title: 'SHADOW', value: (row) => row.policyId },
    { title: 'WOULD HAVE BEEN', value: (row) => summaryLine(row.shadow, row.purpose) },
  ],
  'dead-letters': [
    { title: 'ID', value: (row) => row.deadLetterId, right: true },
    { title: 'CONSUMER', value: (row) => row.consumer },
    { title: 'SUBJECT', value: (row) => row.subject },
    { title: 'SINCE (UTC)', value: (row) => moment(row.createdAt) },
    { title: 'SENT AGAIN', value: (row) => moment(row.redrivenAt) },
    { title: 'BY', value: (row) => row.redrivenBy },
    { title: 'CAME BACK AS', value: (row) => row.cameBackAs, right: true },
    { title: 'REASON', value: (row) => row.reason },
  ],
} satisfies Columns;

const nothing: Record<keyof typeof columns, string> = {
  backups: 'No backup fits.',
  recoveries: 'No recovery fits.',
  vms: 'No VM has been backed up yet.',
  proxies: 'No proxy is up.',
  hosts: 'No host has been registered yet: a proxy-manager does so when it starts.',
  obligations: 'Nothing is owed: no snapshot, target, proxy, attachment or lease is open.',
  schedules: 'There is no schedule.',
  'shadow-plans':
    'No shadow policy would have planned otherwise. Which ones there are, BACKHAUL_SHADOW_POLICIES of the planner says.',
  'dead-letters': 'There are no dead letters.',
};

export async function showList<L extends keyof typeof columns>(
  list: L,
  query: ListQuery<L>,
  flags: { readonly json?: boolean; readonly limit?: number },
  { locations, terminal }: CommandContext,
): Promise<void> {
  const client = await locations.client();
  const rows: Item<L>[] = [];
  for await (const row of client.all(list, query)) {
    rows.push(row);
    if (rows.length === flags.limit) break;
  }
  if (flags.json === true) return terminal.out(json(rows));
  if (rows.length === 0) return terminal.out(nothing[list]);
  for (const line of table(columns[list] as unknown as readonly TableColumn<Item<L>>[], rows))
    terminal.out(line);
}

/** Every policy with its fields. `default` stands also where nobody defined it. */
export async function showPolicies(
  flags: { json?: boolean },
  { locations, terminal }: CommandContext,
): Promise<void> {
  const client = await locations.client();
  const policies = [];
  for await (const { policy, definedAt } of client.all('policies')) policies.push({ policy, definedAt });
  if (!policies.some(({ policy }) => policy.policyId === defaultPolicy.policyId)) {
    policies.unshift({ policy: defaultPolicy, definedAt: null });
  }
  if (flags.json === true) return terminal.out(json(policies.map(({ policy }) => policy)));
  for (const { policy, definedAt } of policies) {
    terminal.out(`${policy.policyId} (${definedAt === null ? 'built in' : `defined ${moment(definedAt)}`})`);
    for (const [field, value] of Object.entries(policy)) {
      if (field === 'policyId') continue;
      const shown = field.endsWith('Bytes') && typeof value === 'number' ? formatBytes(value) : value;
      terminal.out(`  ${field.padEnd(26)} ${shown}`);
    }
  }
}

/** From the moment it was asked of its host, which pays for it from then on. */
function upTimeOf({ requestedAt, endedAt, cost, state }: Item<'proxies'>): string | null {
  if (cost !== null) return duration(cost.upSeconds * 1000);
  if (requestedAt === null) return null;
  const until = endedAt === null || state !== 'deactivated' ? Date.now() : Date.parse(endedAt);
  return duration(until - Date.parse(requestedAt));
}

/** Of all ports of proxies together: what goes direct to the host holds none. */
function portTimeOf({ mode, portMilliseconds }: Pick<consoleApi.BackupView, 'mode' | 'portMilliseconds'>) {
  return portMilliseconds === null || mode !== 'proxy-vm' ? null : duration(portMilliseconds);
}

/** Of one port. */
function speedOf({ movedBytes, movedPortMilliseconds }: Item<'proxies'>): string | null {
  if (movedPortMilliseconds === 0) return null;
  return `${formatBytes(Math.round(movedBytes / (movedPortMilliseconds / 1000)))}/s a port`;
}

const driftLine = ({ at, what, expected, found, repair }: NonNullable<consoleApi.HostView['lastDrift']>) =>
  `${moment(at)} ${what}: ${expected} expected, ${found} found; ${repair}`;

const turnOf = ({ purpose, runId }: NonNullable<consoleApi.VmView['running']>): string =>
  `${shortId(runId)}${markOf(purpose)}`;
const holderOf = (childJobId: string, purpose: Purpose | null): string =>
  `${childJobId.replace(/^([0-9a-f]{8})[0-9a-f-]{28}/, '$1')}${markOf(purpose)}`;
/** Most are backups, and go without saying. */
const markOf = (purpose: Purpose | null): string => (purpose === 'recovery' ? '(recovery)' : '');
