import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { simulatedFleet } from './fleet.fixture.ts';
import {
  DiskDescription,
  Fleet,
  HostDescription,
  readFleet,
  ScheduleDescription,
  VmDescription,
} from './fleet.ts';
import { roundTicks } from './line-chart.ts';
import { span } from './measures.ts';
import { reportPage } from './report-page.ts';

const compared = () => {
  const fleet = readFleet({
    hosts: [{ name: 'a', portBytesPerSecond: '16MiB' }],
    vms: [
      {
        ...{ name: 'web-{n}', count: 3, restorePointAge: null },
        disks: [{ name: 'vda', size: '16GiB', used: '100%' }],
        schedules: [{ cron: '0 0 * * *', window: '30min' }],
      },
    ],
    policies: { 'as-is': {}, 'one-port': { maxPortsPerProxy: 1, maxProxiesPerHost: 1 } },
  });
  const comparison = fleet.ok ? simulatedFleet(fleet.value, { seed: 1, hours: 1 }) : fleet;
  if (!comparison.ok) throw new Error(comparison.refusal.message);
  return comparison.value;
};

test('the page stands alone: it fetches nothing, runs nothing, and closes what it opens', () => {
  const page = reportPage(compared());
  expect(page).not.toMatch(/<script|<link|<img|\bsrc=|url\(|@import|https?:/);
  for (const tag of [
    'html',
    'head',
    'body',
    'main',
    'table',
    'tbody',
    'thead',
    'tr',
    'svg',
    'figure',
    'p',
    'ul',
    'li',
  ])
    expect([tag, page.split(`</${tag}>`).length]).toEqual([
      tag,
      page.split(new RegExp(`<${tag}[ >]`)).length,
    ]);
  expect(page).not.toMatch(/NaN|Infinity|undefined/);
});

test('the page says in words what is seen', () => {
  const page = reportPage(compared());
  expect(page).toContain('<h1>3 VMs on 1 host over 1 hour</h1>');
  // One port moves 16 GiB in 1,024 s: of three one after the other the second and the third are later than half an hour.
  expect(page).toContain('<b>one-port</b>: 3 of 3 backups were completed');
  expect(page).toContain('2 of 3 windows were missed');
  expect(page).toContain('<b>as-is</b>: 3 of 3 backups were completed');
  expect(page).toContain('every window was kept');
  expect(page).toMatch(/Most, as an average over [\d.]+ s: as-is 3 at 00:\d\d, one-port 1 at 00:\d\d\./);
  expect(page).toMatch(
    /<td>web-3<\/td><td>a<\/td><td>2026-01-05 00:00<\/td><td>2026-01-05 00:30<\/td><td>2026-01-05 00:5\d/,
  );
});

test('what people have named cannot break the page', () => {
  const comparison = compared();
  const [first] = comparison.outcomes;
  if (first === undefined) throw new Error('There is an outcome');
  const page = reportPage({ ...comparison, outcomes: [{ ...first, policy: '<b>"&' }] });
  expect(page).toContain('&lt;b&gt;&quot;&amp;');
  expect(page).not.toContain('<b>"&');
});

test('axes have round values that reach the highest', () => {
  expect(roundTicks(87, 4)).toEqual([0, 50, 100]);
  expect(roundTicks(24, 12, [1, 2, 3, 6])).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
  expect(roundTicks(0, 4)).toEqual([0, 1]);
});

test('spans read as people say them', () => {
  expect([3.25, 119, 600, 7_500].map(span)).toEqual(['3.3 s', '119 s', '10 min', '2 h 05 min']);
});

test('every field of a description is in the documentation, and the example can be read', () => {
  const documentation = readFileSync(new URL('../../../docs/simulation.md', import.meta.url), 'utf8');
  const fields = [Fleet, HostDescription, VmDescription, DiskDescription, ScheduleDescription].flatMap(
    (schema) => Object.keys(schema.shape),
  );
  expect(fields.filter((field) => !documentation.includes(`\`${field}\``))).toEqual([]);
});
