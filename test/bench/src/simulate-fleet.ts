/** Simulates a described fleet of so many VMs over 24 hours under one policy, and prints what that took. */
import { describedSource, readFleet, simulated } from '@backhaul/simulation';

export interface FleetFigures {
  readonly seconds: number;
  readonly peakMiB: number;
  readonly events: number;
  readonly completed: number;
}

const VMS_PER_HOST = 200;

const vms = Number(process.argv[2]);
const group = (share: number) => Math.round(vms * share);
const fleet = readFleet({
  hosts: [{ name: 'host-{n}', count: Math.ceil(vms / VMS_PER_HOST), variation: '20%' }],
  vms: [
    {
      ...{ name: 'web-{n}', count: group(0.7), variation: '50%' },
      disks: [{ name: 'vda', size: '60GiB', used: '50%', changePerDay: '4%' }],
      schedules: [{ cron: '0 22 * * *', spread: '2h', window: '6h' }],
    },
    {
      ...{ name: 'app-{n}', count: group(0.2), variation: '50%', trackingLost: '1%' },
      disks: [
        { name: 'vda', size: '80GiB', used: '40%', changePerDay: '3%' },
        { name: 'vdb', size: '300GiB', used: '60%', changePerDay: '6%' },
      ],
      schedules: [{ cron: '30 21 * * *', spread: '1h', window: '6h' }],
    },
    {
      ...{ name: 'db-{n}', count: group(0.1), variation: '50%' },
      disks: [
        { name: 'system', size: '80GiB', used: '40%', changePerDay: '2%' },
        { name: 'data', size: '1TiB', used: '70%', changePerDay: '10%' },
        { name: 'log', size: '200GiB', used: '50%', changePerDay: '80%' },
      ],
      schedules: [
        { cron: '0 20 * * *', window: '4h' },
        { cron: '0 12 * * *', window: '1h' },
      ],
    },
  ],
});
if (!fleet.ok) throw new Error(fleet.refusal.message);
const begun = performance.now();
const source = describedSource(fleet.value, { seed: 1, hours: 24 });
if (!source.ok) throw new Error(source.refusal.message);
const [outcome] = simulated(source.value, 1).outcomes;
const seconds = (performance.now() - begun) / 1000;
const figures: FleetFigures = {
  seconds,
  peakMiB: process.resourceUsage().maxRSS / 1024,
  events: outcome?.events ?? 0,
  completed: outcome?.backups.completed ?? 0,
};
process.stdout.write(JSON.stringify(figures));
