import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runCli } from '../run-cli.ts';

const example = fileURLToPath(new URL('../../../../docs/examples/fleet.yaml', import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'simulate-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function backhaul(...argv: string[]) {
  const [out, notes]: [string[], string[]] = [[], []];
  const terminal = {
    out: (line: string) => out.push(line),
    note: (line: string) => notes.push(line),
    isWatched: false,
  };
  const { signal } = new AbortController();
  const exitCode = await runCli(argv, { terminal, environment: {}, signal });
  return { exitCode, out, notes };
}
const described = (text: string): string => {
  const path = join(folder, 'fleet.yaml');
  writeFileSync(path, text);
  return path;
};

test('the example fleet is compared side by side, and the page and the figures are written', async () => {
  const [html, json] = [join(folder, 'fleet.html'), join(folder, 'fleet.json')];
  const { exitCode, out } = await backhaul(
    ...['simulate', example, '--hours', '10', '--html', html, '--json', json],
    ...['--policy', 'as-it-is', '--policy', 'few-proxies'],
  );
  expect(exitCode).toBe(0);
  expect(out[0]).toBe('504 VMs on 12 hosts over 10 hours, seed 1');
  expect(out[2]).toMatch(/^ +as-it-is +few-proxies$/);
  const comparison = JSON.parse(readFileSync(json, 'utf8'));
  expect(comparison.outcomes.map(({ policy }: { policy: string }) => policy)).toEqual([
    'as-it-is',
    'few-proxies',
  ]);
  const [asItIs, few] = comparison.outcomes;
  expect(few.windows.missed).toBeGreaterThan(asItIs.windows.missed);
  expect(few.proxies.hours).toBeLessThan(asItIs.proxies.hours);
  expect(few.bytes.planned).toBe(asItIs.bytes.planned);
  expect(readFileSync(html, 'utf8')).toContain('<h1>504 VMs on 12 hosts over 10 hours</h1>');
});

test('a description that cannot be read is refused, and says where', async () => {
  expect(await backhaul('simulate', join(folder, 'none.yaml'))).toMatchObject({
    exitCode: 2,
    notes: [expect.stringContaining('none.yaml')],
  });
  expect(await backhaul('simulate', described('hosts: [1'))).toMatchObject({
    exitCode: 2,
    notes: [expect.stringContaining('neither YAML nor JSON')],
  });
  const misspelt = 'hosts: [{name: a, bootSeconds: 3}]\nvms: [{name: w, disks: [{name: v, size: 1GiB}]}]';
  expect(await backhaul('simulate', described(misspelt))).toMatchObject({
    exitCode: 3,
    notes: [expect.stringMatching(/bootSeconds.*hosts\[0\].*docs\/simulation\.md/)],
  });
});
