import type { ProxyCandidate, Recorded } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { choiceLines, choicesOf } from './explain-choice.ts';

const MiB = 1024 ** 2;

const candidate = (proxyId: string, figures: Partial<ProxyCandidate>): ProxyCandidate => ({
  proxyId,
  state: 'active',
  ports: 4,
  freePorts: 4,
  load: 0,
  room: 13,
  sessions: 13,
  health: 'good',
  bytesPerSecond: null,
  knownFrom: null,
  otherRuns: 0,
  preferred: false,
  chosen: false,
  rank: null,
  reason: '',
  ...figures,
});
const known = (mib: number, knownFrom: 'vm' | 'proxy' = 'vm') => ({ bytesPerSecond: mib * MiB, knownFrom });

const first = {
  asked: 2,
  afterPause: false,
  candidatesLeftOut: 3,
  candidates: [
    candidate('p4-0d0d0d0d', {
      ...known(88),
      chosen: true,
      rank: 1,
      preferred: true,
      room: 12,
      otherRuns: 1,
    }),
    candidate('p9-0e0e0e0e', { state: 'new', chosen: true, reason: 'started for this run' }),
    candidate('p1-0a0a0a0a', {
      ...known(92),
      health: 'sick',
      preferred: true,
      reason: 'sick: memory available 4 % (sick below 5)',
    }),
    candidate('p2-0b0b0b0b', {
      ...known(41),
      rank: 2,
      freePorts: 1,
      reason: 'outranked: slower for this VM: 41 MiB/s against 88 MiB/s',
    }),
    candidate('p3-0c0c0c0c', { room: 0, reason: 'no room: 13 of 13 disks' }),
  ],
};
const again = {
  asked: 2,
  afterPause: false,
  candidatesLeftOut: 0,
  candidates: [
    candidate('p2-0b0b0b0b', { ...known(50, 'proxy'), chosen: true, rank: 1 }),
    candidate('p4-0d0d0d0d', { ...known(88), state: 'lost', preferred: true, reason: 'lost: killed' }),
  ],
};

test('a choice is told as a table: what was chosen, what would rather have been had, and why the others lost', () => {
  expect(`\n${choiceLines([first]).join('\n')}\n`).toBe(`
Proxies looked at: 8; asked for: 2; chosen: 2.
  proxy        verdict             health  speed a port        ports free  disks free  other runs  why
  p4-0d0d0d0d  chosen, preferred   good    88 MiB/s (this VM)  4 of 4      12 of 13    1
  p9-0e0e0e0e  started             good    unknown             4 of 4      13 of 13    0
  p1-0a0a0a0a  preferred, not had  sick    92 MiB/s (this VM)  4 of 4      13 of 13    0           sick: memory available 4 % (sick below 5)
  p2-0b0b0b0b  not needed          good    41 MiB/s (this VM)  1 of 4      13 of 13    0           outranked: slower for this VM: 41 MiB/s against 88 MiB/s
  p3-0c0c0c0c  cannot serve        good    unknown             4 of 4      0 of 13     0           no room: 13 of 13 disks
  and 3 more that were not chosen
`);
});

test('a choice that was made again after a loss has a table of its own, with the one that was lost', () => {
  expect(`\n${choiceLines([first, again]).slice(-4).join('\n')}\n`).toBe(`
Looked at again, because the run had none left: 2; asked for: 2; chosen: 1.
  proxy        verdict             health  speed a port          ports free  disks free  other runs  why
  p2-0b0b0b0b  chosen              good    50 MiB/s (other VMs)  4 of 4      13 of 13    0
  p4-0d0d0d0d  preferred, not had  lost    88 MiB/s (this VM)    -           -           -           lost: killed
`);
});

test('a choice that was made because a paused run went on says so, and the next one after a loss says that', () => {
  const event = (type: string, data: object = {}) => ({ type, data }) as unknown as Recorded;
  const story = ['BackupPaused', 'BackupResumed', first, 'BackupPaused', 'BackupResumed', again, again].map(
    (one) => (typeof one === 'string' ? event(one) : event('ProxiesChosen', one)),
  );
  const captions = choiceLines(choicesOf(story)).filter((line) => line.includes('asked for'));
  expect(captions.map((line) => line.slice(0, line.indexOf(':')))).toEqual([
    'Proxies looked at',
    'Looked at again, because the run went on after its pause',
    'Looked at again, because the run had none left',
  ]);
});

test('a choice that was recorded before candidates were has no table', () => {
  expect(choiceLines([{ asked: 2, candidates: [], candidatesLeftOut: 0, afterPause: false }])).toEqual([]);
});
