/** What is compared, one measure after the other, in words and units for people: the same in the terminal and on paper. */
import { formatBytes } from '@backhaul/kernel';
import type { PolicyOutcome } from './tally.ts';

export interface Measure {
  readonly title: string;
  readonly number: (outcome: PolicyOutcome) => number;
  readonly text: (outcome: PolicyOutcome) => string;
}

export const whole = (count: number): string => Math.round(count).toLocaleString('en-US');

/** `45 s`, `12 min`, `3 h 05 min`. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  return `${whole(Math.floor(minutes / 60))} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** `2026-01-05 22:40`, in UTC. */
export const clock = (instant: string): string => instant.slice(0, 16).replace('T', ' ');

const counted = (title: string, number: Measure['number']): Measure => ({
  ...{ title, number },
  text: (outcome) => whole(number(outcome)),
});
const timed = (title: string, number: Measure['number']): Measure => ({
  ...{ title, number },
  text: (outcome) => span(number(outcome)),
});
const share = (part: number, all: number): string =>
  all === 0 ? '-' : `${((100 * part) / all).toFixed(1)} %`;

export const measures: readonly Measure[] = [
  counted('backups asked for', ({ backups }) => backups.requested),
  counted('completed', ({ backups }) => backups.completed),
  counted('failed or refused', ({ backups }) => backups.failed + backups.refused),
  counted('skipped: the one before still waited', ({ backups }) => backups.skipped),
  counted('unfinished when the clock stopped', ({ backups }) => backups.unfinished),
  {
    title: 'windows missed',
    number: ({ windows }) => windows.missed,
    text: ({ windows: { missed, given } }) =>
      given === 0 ? 'none given' : `${whole(missed)} (${share(missed, given)})`,
  },
  timed('due to first port, half within', ({ waitingSeconds }) => waitingSeconds.median),
  timed('due to first port, 95 % within', ({ waitingSeconds }) => waitingSeconds.p95),
  timed('due to first port, longest', ({ waitingSeconds }) => waitingSeconds.longest),
  timed('due to restore point, half within', ({ finishingSeconds }) => finishingSeconds.median),
  timed('due to restore point, 95 % within', ({ finishingSeconds }) => finishingSeconds.p95),
  timed('due to restore point, longest', ({ finishingSeconds }) => finishingSeconds.longest),
  {
    title: 'last restore point at',
    number: ({ lastCompletedAt }) => (lastCompletedAt === null ? 0 : Date.parse(lastCompletedAt) / 1000),
    text: ({ lastCompletedAt }) => (lastCompletedAt === null ? '-' : clock(lastCompletedAt)),
  },
  counted('proxies started', ({ proxies }) => proxies.started),
  counted('proxies shared (choices of one that was up)', ({ proxies }) => proxies.shared),
  {
    title: 'proxy-hours',
    number: ({ proxies }) => proxies.hours,
    text: ({ proxies }) => proxies.hours.toLocaleString('en-US', { maximumFractionDigits: 1 }),
  },
  {
    title: 'ports in use, of port-hours up',
    number: ({ ports }) => (ports.hoursUp === 0 ? 0 : ports.hoursInUse / ports.hoursUp),
    text: ({ ports }) => share(ports.hoursInUse, ports.hoursUp),
  },
  counted('most ports in use at a host', ({ ports }) => ports.mostAtAHost),
  {
    title: 'bytes read',
    number: ({ bytes }) => bytes.read,
    text: ({ bytes }) => formatBytes(bytes.read),
  },
  counted('through proxies', ({ modes }) => modes['proxy-vm']),
  counted('direct to host', ({ modes }) => modes['direct-to-host']),
  counted('fulls', ({ kinds }) => kinds.full),
  counted('incrementals', ({ kinds }) => kinds.incremental),
];
