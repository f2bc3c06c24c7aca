/** What a replay found, for people and for programs. */
import type { Difference, Report } from './findings.ts';

const NAMES = {
  plan: 'plans',
  shadow: 'shadow plans',
  look: 'decisions of pools',
  news: 'answers of pools to news',
  confirmation: 'confirmations of what pools had asked for',
  drift: 'sights of hosts',
  'given-up': 'actions given up',
  registration: 'registrations of hosts',
} as const satisfies Record<keyof Report['tallies'], string>;

export function reportLines(report: Report): string[] {
  const kinds = Object.keys(NAMES) as (keyof typeof NAMES)[];
  const tallies = kinds.flatMap((kind) => {
    const { checked, notCheckable } = report.tallies[kind];
    const reasons = [...notCheckable].map(([reason, count]) => `  not checkable: ${count}, ${reason}`);
    return checked === 0 && reasons.length === 0
      ? []
      : [`${checked} ${NAMES[kind]} derived again`, ...reasons];
  });
  const unknown = [...report.unknownTypes].map(
    ([type, count]) => `${count} events of type ${type} passed over: this release does not know it`,
  );
  const { differences, further } = report;
  const rest = further === 0 ? [] : [`${further} more differences behind the first of their streams.`];
  const verdict =
    differences.length === 0
      ? 'No difference.'
      : `Differences in ${differences.length} streams; the first of each:`;
  return [
    `${report.events} events read`,
    ...tallies,
    ...unknown,
    verdict,
    ...differences.flatMap(told),
    ...rest,
  ];
}

const told = ({ position, stream, version, what, lines }: Difference): string[] => [
  `Position ${position}, stream ${stream}, version ${version}: ${what}`,
  ...lines.map((line) => `  ${line}`),
];

export const reportJson = (report: Report): unknown => ({
  ...report,
  tallies: Object.fromEntries(
    Object.entries(report.tallies).map(([kind, { checked, notCheckable }]) => [
      kind,
      { checked, notCheckable: Object.fromEntries(notCheckable) },
    ]),
  ),
  unknownTypes: Object.fromEntries(report.unknownTypes),
});
