/**
 * Logs of real runs (record-logs.ts), kept as they were recorded: what was planned and decided then is planned and decided now. So a change
 * of behaviour is seen, and named, before it is released.
 *
 * When a rule is changed on purpose there are two ways. Usually: `npm run record-logs`, and the new files are part of the change. Where an
 * old log must stay as it is (one from the field, say), what is different in it is told below with the reason, and must stay just that.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { StoredRecord } from '@backhaul/contracts';
import { readLogFile } from '@backhaul/event-store';
import { checkLog, reportLines } from '@backhaul/replay';
import { describe, expect, test } from 'vitest';

const FOLDER = fileURLToPath(new URL('../recorded/', import.meta.url));
const names = readdirSync(FOLDER).sort();

/** By file: why it differs, and the lines that say how. */
const KNOWN: Readonly<Record<string, { readonly because: string; readonly lines: readonly string[] }>> = {};

const recorded = (name: string): Promise<StoredRecord[]> => Array.fromAsync(readLogFile(`${FOLDER}${name}`));

const advice = (name: string): string =>
  `Today's code does not do what ${name} has on record. If that is not meant, it is a regression. If it is: npm run record-logs, and look at what comes of it.`;

describe('what was recorded is what is derived', () => {
  test.each(names)('%s', async (name) => {
    const report = checkLog(await recorded(name));
    const lines = report.differences.flatMap((difference) => [difference.what, ...difference.lines]);
    expect(lines, `${advice(name)}\n${reportLines(report).join('\n')}`).toEqual(KNOWN[name]?.lines ?? []);
    for (const kind of ['look', 'news', 'confirmation', 'registration'] as const) {
      expect(report.tallies[kind].checked).toBeGreaterThan(0);
      expect([...report.tallies[kind].notCheckable]).toEqual([]);
    }
    expect(report.tallies.plan.checked).toBeGreaterThan(0);
    expect(report.tallies.shadow.checked).toBeGreaterThan(0);
    expect([...report.tallies.shadow.notCheckable]).toEqual([]);
  });
});

/** Each is a copy of a real log with one thing changed in it, as the log of another behaviour would have it. */
describe('what is planted in a recorded log is found and named', () => {
  const plant = async (type: string, change: (data: never) => void): Promise<string[]> => {
    const log = await recorded('fulls-share-proxies.jsonl.gz');
    const planted = log.find((record) => record.type === type);
    change(planted?.data as never);
    const [first] = checkLog(log).differences;
    return first === undefined ? [] : [first.what.replace(/run \S+/, 'the run'), ...first.lines];
  };

  test('a plan of another number of proxies', async () => {
    expect(await plant('ProxiesCalculated', (plan: { proxies: number }) => (plan.proxies += 1))).toEqual([
      'the plan of the run is another one today',
      expect.stringMatching(/^ProxiesCalculated data\.proxies: recorded (\d+), derived \d+$/),
    ]);
  });

  test('a lease of another port', async () => {
    expect(
      await plant('PortsLeased', ({ ports }: { ports: { port: number }[] }) => {
        for (const each of ports) each.port += 7;
      }),
    ).toEqual([
      'what the pool decides is another thing today',
      expect.stringMatching(/^PortsLeased data\.ports\[0\]\.port: recorded \d+, derived \d+$/),
    ]);
  });

  test('proxies that were not chosen', async () => {
    const log = await recorded('fulls-share-proxies.jsonl.gz');
    const [first] = checkLog(log.filter(({ type }) => type !== 'ProxiesChosen')).differences;
    expect(first).toMatchObject({
      kind: 'look',
      lines: [expect.stringMatching(/^only derived: {2}ProxiesChosen /)],
    });
  });
});
