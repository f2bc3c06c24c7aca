/** `backhaul host-policy` and `backhaul deployment-policy`: what hosts may carry, whatever the runs ask for. */
import {
  type DeploymentPolicyChanges,
  type HostPolicyChanges,
  noDeploymentPolicy,
  noHostPolicy,
} from '@backhaul/contracts';
import { formatBytes, parseBytes } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { refused, usage } from '../exit.ts';
import { moment } from '../table.ts';
import { json, type Terminal } from '../terminal.ts';

/** What is not named keeps its value. */
export async function setHostPolicy(
  host: string,
  settings: readonly string[],
  context: CommandContext,
): Promise<void> {
  const changes: HostPolicyChanges = readLimits(settings, noHostPolicy, 'A host policy');
  const answer = await (await context.locations.requester()).changeHostPolicy(host, changes);
  if (!answer.ok) throw refused(answer.refusal);
  context.terminal.out(
    `The policy of host ${host} is set, and counts within seconds. What runs there goes on; only what is new is held back.`,
  );
}

export async function setDeploymentPolicy(
  settings: readonly string[],
  context: CommandContext,
): Promise<void> {
  const changes: DeploymentPolicyChanges = readLimits(settings, noDeploymentPolicy, 'The deployment policy');
  const answer = await (await context.locations.requester()).changeDeploymentPolicy(changes);
  if (!answer.ok) throw refused(answer.refusal);
  context.terminal.out('The policy of the deployment is set, and counts within seconds.');
}

/** Every host somebody has defined a policy for, and the deployment as a whole. */
export async function showHostPolicies(
  flags: { json?: boolean },
  { locations, terminal }: CommandContext,
): Promise<void> {
  const client = await locations.client();
  const hosts = (await client.page('host-policies', { limit: 1000 })).items;
  const [deployment] = (await client.page('deployment-policy')).items;
  if (flags.json === true) return terminal.out(json({ hosts, deployment: deployment ?? null }));
  for (const { hostId, policy, definedAt, revision, adoptedRevision } of hosts) {
    const counts = adoptedRevision === revision ? '' : ', not taken up by the host yet';
    terminal.out(`host ${hostId} (defined ${moment(definedAt)}${counts})`);
    showLimits(policy, terminal);
  }
  if (hosts.length === 0) terminal.out('No host has a policy: every run gets what its own policy asks for.');
  if (deployment !== undefined) {
    terminal.out(`deployment (defined ${moment(deployment.definedAt)})`);
    showLimits(deployment.policy, terminal);
  }
}

function showLimits(policy: object, terminal: Terminal): void {
  for (const [field, value] of Object.entries(policy)) {
    const shown =
      isBytes(field) && typeof value === 'number'
        ? formatBytes(value)
        : typeof value === 'boolean'
          ? yesOrNo(value)
          : (value ?? 'none');
    terminal.out(`  ${field.padEnd(26)} ${shown}`);
  }
}

/** `maxOpenSnapshots=4 bytesPerSecond=100MiB maxRuns=none recycleOldAppliance=yes`. */
export function readLimits<Policy extends object>(
  settings: readonly string[],
  known: Policy,
  subject: string,
): Partial<Policy> {
  const changes: Record<string, number | boolean | null> = {};
  for (const setting of settings) {
    const [field = '', ...rest] = setting.split('=');
    const text = rest.join('=');
    if (text === '')
      throw usage(`"${setting}" is no setting. Write it as field=value, such as maxOpenSnapshots=4.`);
    if (!Object.hasOwn(known, field))
      throw usage(`${subject} has no field ${field}. Known: ${Object.keys(known).join(', ')}.`);
    changes[field] = settingOf(field, text, known[field as keyof Policy]);
  }
  return changes as Partial<Policy>;
}

function settingOf(field: string, text: string, known: unknown): number | boolean | null {
  if (typeof known !== 'boolean') return text === 'none' ? null : limitOf(field, text);
  if (text !== 'yes' && text !== 'no') throw usage(`${field} cannot be "${text}". Write "yes" or "no".`);
  return text === 'yes';
}

function limitOf(field: string, text: string): number {
  const value = isBytes(field) ? parseBytes(text) : Number(text);
  // A proxy may be ended as soon as it has no work.
  const least = field === 'proxyIdleSeconds' ? 0 : 1;
  if (value === undefined || !Number.isSafeInteger(value) || value < least) {
    throw usage(
      `${field} cannot be "${text}". Write a whole number from ${least}${isBytes(field) ? ', with a unit if you like: 64MiB, 4GiB' : ''}; or "none" for no limit.`,
    );
  }
  return value;
}

const yesOrNo = (value: boolean): string => (value ? 'yes' : 'no');
const isBytes = (field: string): boolean => /bytes/i.test(field);
