/**
 * A comparison as one page that stands alone: nothing is fetched, nothing runs, it follows the reader's light or dark, and it can be
 * printed. Every chart is also said in words, for who does not see it or does not see colours.
 */
import { formatBytes } from '@backhaul/kernel';
import type { Gauge } from './gauges.ts';
import { escaped, type Line, lineChart, roundTicks, SERIES } from './line-chart.ts';
import { clock, measures, span, whole } from './measures.ts';
import { pageStyle } from './report-style.ts';
import type { Comparison } from './simulate.ts';
import type { PolicyOutcome } from './tally.ts';

export function reportPage(comparison: Comparison): string {
  const { hosts, vms, seed, start, notes, outcomes } = comparison;
  const hours = Number(comparison.hours.toFixed(1));
  const title = `${whole(vms)} ${vms === 1 ? 'VM' : 'VMs'} on ${whole(hosts)} ${hosts === 1 ? 'host' : 'hosts'} over ${hours} ${hours === 1 ? 'hour' : 'hours'}`;
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escaped(title)}</title><style>${pageStyle}</style></head><body><main>`,
    `<h1>${escaped(title)}</h1>`,
    `<p>Simulated from ${clock(start)} UTC on, with seed ${seed}, by the planner and the pool that decide in production. Requests come due for that long; what is open then is worked off.</p>`,
    ...notes.map((note) => `<p>${escaped(note)}</p>`),
    `<ul>${outcomes.map((outcome) => `<li>${verdict(outcome)}</li>`).join('')}</ul>`,
    '<h2>Side by side</h2>',
    sideBySide(outcomes),
    ...gaugeCharts(comparison),
    finishingChart(outcomes),
    '<h2>Windows missed</h2>',
    ...outcomes.map(missedWindows),
    '</main></body></html>',
    '',
  ].join('\n');
}

function verdict({ policy, backups, windows, finishingSeconds, proxies }: PolicyOutcome): string {
  const missed =
    windows.given === 0
      ? 'no window was given'
      : windows.missed === 0
        ? 'every window was kept'
        : `${whole(windows.missed)} of ${whole(windows.given)} windows were missed`;
  const open = backups.requested - backups.completed;
  return (
    `<b>${escaped(policy)}</b>: ${whole(backups.completed)} of ${whole(backups.requested)} backups were completed` +
    `${open === 0 ? '' : ` (${whole(open)} were not)`}, 95 of 100 within ${span(finishingSeconds.p95)} of coming due; ${missed}; ` +
    `${whole(proxies.started)} proxies were started and ran for ${whole(proxies.hours)} hours together.`
  );
}

/** The first policy is what the others are held against. */
function sideBySide(outcomes: readonly PolicyOutcome[]): string {
  const [first, ...others] = outcomes;
  if (first === undefined) return '';
  const rows = measures.map(({ title, number, text }) => {
    const cells = others.map((outcome) => {
      const [before, now] = [number(first), number(outcome)];
      const change = before === 0 || before === now || title.includes(' at') ? '' : percent(now / before - 1);
      return `<td>${escaped(text(outcome))}${change === '' ? '' : ` <small>${change}</small>`}</td>`;
    });
    return `<tr><th scope="row">${escaped(title)}</th><td>${escaped(text(first))}</td>${cells.join('')}</tr>`;
  });
  const heads = outcomes.map(({ policy }) => `<th scope="col">${escaped(policy)}</th>`).join('');
  const note = others.length === 0 ? '' : `<p>In small: the difference from ${escaped(first.policy)}.</p>`;
  return `<table><thead><tr><td></td>${heads}</tr></thead><tbody>${rows.join('')}</tbody></table>${note}`;
}

const percent = (change: number): string => {
  const rounded = Math.round(100 * change);
  return rounded === 0 ? '' : `${rounded > 0 ? '+' : '−'}${whole(Math.abs(rounded))} %`;
};

const CHARTS: readonly {
  readonly gauge: Gauge;
  readonly title: string;
  readonly text: (value: number) => string;
}[] = [
  { gauge: 'portsInUse', title: 'Ports in use', text: whole },
  { gauge: 'runsWaiting', title: 'Backups waiting for their first port', text: whole },
  { gauge: 'proxiesUp', title: 'Proxies up', text: whole },
  {
    gauge: 'bytesPerSecond',
    title: 'Bytes per second',
    text: (value) => `${formatBytes(Math.round(value))}/s`,
  },
];

function gaugeCharts({ outcomes, start, hours }: Comparison): string[] {
  const bucketHours = (outcomes[0]?.course.bucketSeconds ?? 300) / 3600;
  const longest = Math.max(1, ...outcomes.map(({ course }) => course.portsInUse.length));
  const most = Math.max(hours, longest * bucketHours);
  const ticks = roundTicks(most, 12, [1, 2, 3, 6]).filter((tick) => tick <= most);
  const begin = Date.parse(start);
  const label = (tick: number): string => new Date(begin + tick * 3_600_000).toISOString().slice(11, 16);
  return CHARTS.map(({ gauge, title, text }) => {
    const lines = outcomes.map(
      ({ policy, course }): Line => ({
        name: policy,
        points: course[gauge].map((y, index) => ({ x: (index + 0.5) * bucketHours, y })),
      }),
    );
    const peaks = outcomes.map(({ policy, course }) => {
      const peak = course[gauge].reduce((best, y, index) => (y > best.y ? { y, index } : best), {
        y: 0,
        index: 0,
      });
      return `${policy} ${text(peak.y)}${peak.y === 0 ? '' : ` at ${label(peak.index * bucketHours)}`}`;
    });
    const said = `Most, as an average over ${span(bucketHours * 3600)}: ${peaks.join(', ')}.`;
    const highest = Math.max(0, ...lines.flatMap(({ points }) => points.map(({ y }) => y)));
    // Round in the unit that it is said in.
    const unit = gauge === 'bytesPerSecond' ? 1024 ** Math.floor(Math.log2(Math.max(1, highest)) / 10) : 1;
    const yTicks = roundTicks(highest / unit, 4).map((tick) => tick * unit);
    const x = { max: most, ticks, label };
    const y = { max: yTicks.at(-1) ?? 1, ticks: yTicks, label: text };
    return figure(title, said, lineChart(title, said, lines, x, y), outcomes);
  });
}

function finishingChart(outcomes: readonly PolicyOutcome[]): string {
  const lines = outcomes.map(
    ({ policy, finishedWithin }): Line => ({
      name: policy,
      points: [
        { x: 0, y: 0 },
        ...finishedWithin.map(({ seconds, share }) => ({ x: seconds / 3600, y: 100 * share })),
      ],
    }),
  );
  const most = Math.max(0, ...lines.flatMap(({ points }) => points.map(({ x }) => x)));
  const xTicks = roundTicks(most, 8);
  const said = `Share of all that were asked for. Half of those completed were within: ${outcomes.map(({ policy, finishingSeconds }) => `${policy} ${span(finishingSeconds.median)}`).join(', ')}.`;
  const title = 'Restore points within so long of coming due';
  const x = { max: xTicks.at(-1) ?? 1, ticks: xTicks, label: (tick: number) => span(tick * 3600) };
  const y = { max: 100, ticks: [0, 25, 50, 75, 100], label: (tick: number) => `${tick} %` };
  return figure(title, said, lineChart(title, said, lines, x, y), outcomes);
}

const figure = (title: string, said: string, chart: string, outcomes: readonly PolicyOutcome[]): string =>
  `<h2>${escaped(title)}</h2><figure>${chart}<figcaption>${legend(outcomes)}${escaped(said)}</figcaption></figure>`;

const legend = (outcomes: readonly PolicyOutcome[]): string =>
  outcomes
    .map(
      ({ policy }, index) =>
        `<span class="key"><svg viewBox="0 0 28 8" aria-hidden="true"><path class="line s${index % SERIES}" d="M0 4L28 4"/></svg>${escaped(policy)}</span>`,
    )
    .join(' ');

function missedWindows({ policy, windows: { given, missed, worst } }: PolicyOutcome): string {
  const heading = `<h3>${escaped(policy)}</h3>`;
  if (given === 0) return `${heading}<p>No schedule has a window.</p>`;
  if (missed === 0) return `${heading}<p>None of ${whole(given)}.</p>`;
  const rows = worst.map(
    ({ vmId, hostId, dueAt, completeBy, completedAt, outcome }) =>
      `<tr><td>${escaped(vmId)}</td><td>${escaped(hostId)}</td><td>${clock(dueAt)}</td><td>${clock(completeBy)}</td><td>${completedAt === null ? `never: ${outcome}` : clock(completedAt)}</td></tr>`,
  );
  const shown = worst.length < missed ? ` The ${worst.length} latest:` : '';
  return `${heading}<p>${whole(missed)} of ${whole(given)}.${shown}</p><table class="list"><thead><tr><th>VM</th><th>host</th><th>due</th><th>window until</th><th>restore point</th></tr></thead><tbody>${rows.join('')}</tbody></table>`;
}
