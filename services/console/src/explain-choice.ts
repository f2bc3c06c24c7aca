/** Which proxies were looked at for a run and why each was chosen or not, as a table for a terminal. From the events of the choice alone. Pure. */
import type { consoleApi, ProxyCandidate, Recorded } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';

type Choice = consoleApi.Explanation['choices'][number];

/** Those recorded before candidates were have nothing to tell. */
export function choicesOf(story: readonly Recorded[]): Choice[] {
  const choices: Choice[] = [];
  let afterPause = false;
  for (const { type, data } of story) {
    if (type === 'BackupResumed' || type === 'RecoveryResumed') afterPause = choices.length > 0;
    if (type !== 'ProxiesChosen') continue;
    const { asked, candidates, candidatesLeftOut } = data;
    choices.push({ asked, candidates, candidatesLeftOut, afterPause });
    afterPause = false;
  }
  return choices;
}

export const choiceLines = (choices: readonly Choice[]): string[] =>
  choices
    .filter(({ candidates }) => candidates.length > 0)
    .flatMap((choice, index) => tableOf(choice, index));

function occasionOf({ afterPause }: Choice, index: number): string {
  if (afterPause) return 'Looked at again, because the run went on after its pause';
  return index === 0 ? 'Proxies looked at' : 'Looked at again, because the run had none left';
}

function tableOf(choice: Choice, index: number): string[] {
  const { asked, candidates, candidatesLeftOut } = choice;
  const chosen = candidates.filter((candidate) => candidate.chosen).length;
  const caption = `${occasionOf(choice, index)}: ${candidates.length + candidatesLeftOut}; asked for: ${asked}; chosen: ${chosen}.`;
  const rows = [TITLES, ...candidates.map(cellsOf)];
  const widths = TITLES.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  return [
    caption,
    ...rows.map((cells) =>
      `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
    ),
    ...(candidatesLeftOut === 0 ? [] : [`  and ${candidatesLeftOut} more that were not chosen`]),
  ];
}

const TITLES = [
  'proxy',
  'verdict',
  'health',
  'speed a port',
  'ports free',
  'disks free',
  'other runs',
  'why',
];

const cellsOf = (candidate: ProxyCandidate): string[] => {
  const { proxyId, state, health, ports, freePorts, room, sessions, otherRuns, chosen, reason } = candidate;
  const there = state !== 'gone' && state !== 'lost';
  return [
    proxyId,
    verdictOf(candidate),
    there ? health : state,
    speedOf(candidate),
    there ? `${freePorts} of ${ports}` : '-',
    there ? `${room} of ${sessions}` : '-',
    there ? String(otherRuns) : '-',
    // Why it was chosen stands in its row already, and in the sentence about it.
    chosen ? '' : reason,
  ];
};

function verdictOf({ chosen, state, preferred, rank }: ProxyCandidate): string {
  if (chosen) return state === 'new' ? 'started' : preferred ? 'chosen, preferred' : 'chosen';
  if (preferred) return 'preferred, not had';
  return rank === null ? 'cannot serve' : 'not needed';
}

const KNOWN_FROM = { vm: 'this VM', storage: 'its storage', proxy: 'other VMs' } as const;

const speedOf = ({ bytesPerSecond, knownFrom }: ProxyCandidate): string =>
  bytesPerSecond === null || knownFrom === null
    ? 'unknown'
    : `${formatBytes(Math.round(bytesPerSecond))}/s (${KNOWN_FROM[knownFrom]})`;
