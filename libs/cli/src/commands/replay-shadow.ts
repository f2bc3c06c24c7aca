/** `backhaul replay --shadow`: what another policy would have made of the runs in a log, one line for each that it makes otherwise, and sums. */
import { readFile } from 'node:fs/promises';
import { defaultPolicy, Policy, type StoredRecord } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import { summaryLine } from '@backhaul/planning';
import { ShadowPlans, type ShadowRow } from '@backhaul/replay';
import { parse } from 'yaml';
import { usage } from '../exit.ts';
import { moment, shortId, table } from '../table.ts';
import type { Terminal } from '../terminal.ts';
import { readSetting } from './settings.ts';

export interface ShadowFlags {
  readonly shadow: readonly string[];
  readonly host?: string;
  readonly since?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

export async function replayShadow(
  records: AsyncIterable<StoredRecord>,
  { shadow, host, since, all, json }: ShadowFlags,
  terminal: Terminal,
): Promise<void> {
  const changes = await readChanges(shadow);
  const from = since === undefined ? undefined : Date.parse(since);
  if (from !== undefined && Number.isNaN(from))
    throw usage(`--since ${since} is no instant. Write it as 2026-01-31 or 2026-01-31T18:00:00Z.`);
  const plans = new ShadowPlans(
    (live) => ({ ...live, policyId: 'shadow', ...changes }),
    ({ event, hostId }) =>
      (host === undefined || hostId === host) && (from === undefined || Date.parse(event.recordedAt) >= from),
  );
  for await (const record of records) {
    const row = plans.take(record);
    if (row === undefined || (all !== true && row.differences.length === 0)) continue;
    terminal.out(json === true ? JSON.stringify(row) : lineOf(row));
  }
  const { sums, notCheckable } = plans;
  if (json === true) {
    terminal.out(JSON.stringify({ ...sums, notCheckable: Object.fromEntries(notCheckable) }));
    return;
  }
  const { live, shadow: other } = sums;
  terminal.out(`${sums.plans} plans made again, ${sums.differing} of them otherwise.`);
  for (const [reason, count] of notCheckable) terminal.out(`${count} could not be made again: ${reason}.`);
  const rows = (
    [
      ['through proxy VMs', 'proxyVm'],
      ['direct to the host', 'directToHost'],
      ['refused', 'refused'],
      ['child jobs and streams', 'childJobs'],
      ['proxy VMs asked for', 'proxies'],
    ] as const
  ).map(([what, sum]) => ({ what, recorded: live[sum], shadow: other[sum] }));
  const lines = table(
    [
      { title: '', value: ({ what }) => what },
      { title: 'RECORDED', value: ({ recorded }) => recorded, right: true },
      { title: 'SHADOW', value: (row) => row.shadow, right: true },
    ],
    rows,
  );
  for (const line of lines) terminal.out(line);
}

const lineOf = ({ recordedAt, runId, hostId, vmId, purpose, live, shadow }: ShadowRow): string =>
  `${moment(recordedAt)} ${purpose} ${shortId(runId)} of ${vmId} on ${hostId}: ` +
  `${summaryLine(live, purpose)}; it would have been ${summaryLine(shadow, purpose)}`;

/** A file with fields of a policy, or the fields themselves. What is not named is as in the policy of each run. */
async function readChanges(given: readonly string[]): Promise<Partial<Policy>> {
  const [first = ''] = given;
  const named =
    given.length === 1 && !first.includes('=')
      ? await readFields(first)
      : Object.fromEntries(given.map(readSetting));
  const unknown = Object.keys(named).filter((name) => !(name in defaultPolicy));
  if (unknown.length > 0)
    throw usage(
      `A policy has no field ${unknown.join(', ')}. Known: ${Object.keys(defaultPolicy).join(', ')}.`,
    );
  const checked = Policy.safeParse({ ...defaultPolicy, ...named });
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw usage(`${issue?.path.join('.') ?? 'The policy'} cannot be so: ${issue?.message ?? 'it is wrong'}.`);
  }
  return Object.fromEntries(Object.entries(checked.data).filter(([name]) => name in named));
}

async function readFields(path: string): Promise<Record<string, unknown>> {
  let fields: unknown;
  try {
    fields = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw usage(
      `The policy ${path} cannot be read: ${describeError(error)}. Give a YAML or JSON file, or fields such as maxProxiesPerHost=2.`,
    );
  }
  if (typeof fields === 'object' && fields !== null && !Array.isArray(fields))
    return fields as Record<string, unknown>;
  throw usage(`${path} holds no fields of a policy. Write one a line, such as maxProxiesPerHost: 2.`);
}
