import { expect, test } from 'vitest';
import { occasionText, readOccasion } from './occasion.ts';

const at = Date.parse('2026-01-01T00:00:00.123Z');

test('an occasion is read back as it was told', () => {
  const text = occasionText('lab', { kind: 'look', at });
  expect(text).toBe('host-lab look 2026-01-01T00:00:00.123Z');
  expect(readOccasion('lab', text)).toEqual({ kind: 'look', at });
});

test.each([
  ['the id of news', '3f0c8b52-6d0e-5c1b-9a55-0d6f0e6f6c01'],
  ['what was recorded before there were occasions', 'host-lab'],
  ['an occasion of a later release', 'host-lab dream 2026-01-01T00:00:00.123Z'],
  ['another host whose name begins alike', occasionText('lab-2', { kind: 'look', at })],
  ['no instant', 'host-lab look soon'],
])('%s is none', (_, causation) => {
  expect(readOccasion('lab', causation)).toBeUndefined();
});
