/**
 * How the time of a simulation grows with the fleet: 1,000, 10,000 and 100,000 VMs over 24 hours, 200 to a host, each fleet in a process of its
 * own, whose peak of memory is told, too. `growth...`: how much longer a VM takes in the largest fleet than in the smallest.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Note } from './figures.ts';
import type { FleetFigures } from './simulate-fleet.ts';

const SIZES = (process.env.BACKHAUL_BENCH_VMS ?? '1000,10000,100000').split(',').map(Number);
const SCRIPT = fileURLToPath(new URL('./simulate-fleet.ts', import.meta.url));

export async function run(note: Note): Promise<undefined> {
  const perVm: number[] = [];
  for (const vms of SIZES) {
    const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, String(vms)]);
    const { seconds, peakMiB, events, completed } = JSON.parse(stdout) as FleetFigures;
    note({
      [`simulate.${vms}.seconds`]: seconds,
      [`simulate.${vms}.peakMiB`]: peakMiB,
      [`simulate.${vms}.eventsPerSecond`]: events / seconds,
      [`simulate.${vms}.completed`]: completed,
    });
    perVm.push(seconds / vms);
  }
  const [smallest, largest] = [perVm[0], perVm.at(-1)];
  if (smallest !== undefined && largest !== undefined && perVm.length > 1)
    note({ 'simulate.growthPerVm': largest / smallest });
}
