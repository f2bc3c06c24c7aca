/** `backhaul schedule` and `backhaul policy`: what an administrator decides once. */
import { defaultPolicy, type Policy, type PolicyChanges, type Priority } from '@backhaul/contracts';
import { parseBytes } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { refused, usage } from '../exit.ts';

export interface ScheduleFlags {
  readonly cron: string;
  readonly host: string;
  readonly vm: string;
  readonly timeZone?: string;
  readonly full?: boolean;
  readonly policy?: string;
  readonly priority?: Priority;
}

export async function setSchedule(id: string, flags: ScheduleFlags, context: CommandContext): Promise<void> {
  const { cron, host, vm, timeZone, full, policy, priority } = flags;
  const answer = await (await context.locations.requester()).defineSchedule({
    scheduleId: id,
    cron,
    host,
    vm,
    kind: full === true ? 'full' : 'auto',
    ...(timeZone === undefined ? {} : { timeZone }),
    ...(policy === undefined ? {} : { policy }),
    ...(priority === undefined ? {} : { priority }),
  });
  if (!answer.ok) throw refused(answer.refusal);
  context.terminal.out(`Schedule ${id} is set: VM ${vm} on host ${host}, ${cron}.`);
}

export async function removeSchedule(id: string, context: CommandContext): Promise<void> {
  const answer = await (await context.locations.requester()).removeSchedule(id);
  if (!answer.ok) throw refused(answer.refusal);
  context.terminal.out(`Schedule ${id} is removed.`);
}

/** What is not named keeps its value. */
export async function setPolicy(
  id: string,
  settings: readonly string[],
  context: CommandContext,
): Promise<void> {
  const changes: PolicyChanges = Object.fromEntries(settings.map(readSetting));
  const answer = await (await context.locations.requester()).changePolicy(id, changes);
  if (!answer.ok) throw refused(answer.refusal);
  context.terminal.out(`Policy ${id} is set. Backups that run keep the policy they were triggered with.`);
}

/** `childJobBytes=4GiB`, `maxProxiesPerHost=2`, `mode=proxy-vm`. */
export function readSetting(setting: string): [string, string | number] {
  const [field = '', ...rest] = setting.split('=');
  const text = rest.join('=');
  const known = Object.keys(defaultPolicy).filter((name) => name !== 'policyId');
  if (rest.length === 0 || text === '')
    throw usage(`"${setting}" is no setting. Write it as field=value, such as maxProxiesPerHost=2.`);
  if (!known.includes(field)) throw usage(`A policy has no field ${field}. Known: ${known.join(', ')}.`);
  if (typeof defaultPolicy[field as keyof Policy] !== 'number') return [field, text];
  const value = field.endsWith('Bytes') ? parseBytes(text) : Number(text);
  if (value === undefined || !Number.isFinite(value)) {
    throw usage(
      `${field} cannot be "${text}". Write a number${field.endsWith('Bytes') ? ', with a unit if you like: 64MiB, 4GiB' : ''}.`,
    );
  }
  return [field, value];
}
