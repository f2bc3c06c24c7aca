/** The units of infra/systemd: what their settings promise to VMs, and that systemd takes them. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './source-tree.ts';

const folder = join(root, 'infra/systemd');
const services = readdirSync(join(root, 'services')).sort();
const unitOf = (service: string): string => `backhaul-${service}.service`;
const settingsOf = (unit: string): string[] =>
  readFileSync(join(folder, unit), 'utf8')
    .split('\n')
    .filter((line) => /^\w+=/.test(line));

test('every service has a unit, which the target starts and stops', () => {
  const units = readdirSync(folder).filter((name) => name.endsWith('.service'));
  expect(units.sort()).toEqual(services.map(unitOf));
  for (const unit of units)
    expect(settingsOf(unit)).toEqual(
      expect.arrayContaining(['PartOf=backhaul.target', 'WantedBy=backhaul.target']),
    );
});

test('what the proxy-manager starts outlives it, whatever its unit goes through', () => {
  const settings = settingsOf(unitOf('proxy-manager'));
  expect(settings).toEqual(
    expect.arrayContaining(['KillMode=process', 'OOMPolicy=continue', 'TasksMax=infinity']),
  );
  // Each would give its VMs a view of the file systems, or a bound, that is the unit's.
  expect(settings.filter((line) => /^(Private|Protect|Memory|RuntimeDirectory|Delegate)/.test(line))).toEqual(
    [],
  );
});

test('units differ in what makes their service another one, and in nothing else', () => {
  const shared = (service: string): string[] =>
    settingsOf(unitOf(service))
      .filter((line) => !/^(Description|KillMode|OOMPolicy|TasksMax|SupplementaryGroups)=/.test(line))
      .map((line) => line.replaceAll(service, '<service>'));
  for (const service of services) expect(shared(service)).toEqual(shared('trigger'));
});

const hasSystemd = (process.env.PATH ?? '')
  .split(':')
  .some((where) => existsSync(join(where, 'systemd-analyze')));

test.skipIf(!hasSystemd)(
  'systemd takes the units',
  () => {
    const copies = mkdtempSync(join(tmpdir(), 'units-'));
    try {
      const units = readdirSync(folder).filter((name) => /\.(service|target)$/.test(name));
      for (const unit of units) {
        const text = readFileSync(join(folder, unit), 'utf8')
          .replaceAll('/opt/backhaul/node_modules/.bin/node', process.execPath)
          .replaceAll('/opt/backhaul', root);
        writeFileSync(join(copies, unit), text);
      }
      const args = ['verify', ...units.map((unit) => join(copies, unit))];
      const { status, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8', timeout: 60_000 });
      // Of what it does not know it only warns, and it may have something to say of the machine's own units.
      expect(stderr.split('\n').filter((line) => line.includes('backhaul'))).toEqual([]);
      expect(status).toBe(0);
    } finally {
      rmSync(copies, { recursive: true });
    }
  },
  60_000,
);
