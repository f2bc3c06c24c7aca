import type { EventData } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { decide, UNKNOWN } from './deployment-repository.ts';

const [ours, other] = ['5f0c9a3e-7a52-4d0e-9a5b-0d7d3c1f2e4a', '00000000-0000-4000-8000-000000000002'];
const adopted: EventData<'RepositoryAdopted'> = {
  repositoryId: ours,
  location: '/srv/repository',
  made: true,
  replaces: null,
  adoptedAt: '2026-01-01T00:00:00.000Z',
};
const found = (repositoryId?: string, hasBackups = false) => ({
  location: '/srv/repository',
  repositoryId,
  hasBackups,
});

test('the very first start makes a repository, or takes the one that is there', () => {
  expect(decide(undefined, found(), undefined)).toEqual({ ok: true, value: { make: true, replaces: null } });
  expect(decide(undefined, found(ours, true), undefined)).toEqual({
    ok: true,
    value: { adopt: ours, replaces: null },
  });
});

test('the one that was noted is used, whatever an order left behind says', () => {
  for (const replaces of [undefined, ours, other, UNKNOWN])
    expect(decide(adopted, found(ours), replaces)).toEqual({ ok: true, value: { use: ours } });
});

test.each([
  ['none is there', adopted, found(), undefined, ours],
  ['another is there', adopted, found(other), undefined, `${other}.*${ours}`],
  ['an order was for another', adopted, found(other), other, ours],
  ['an order does not know what it replaces', adopted, found(), UNKNOWN, ours],
  ['an earlier release has made backups', undefined, found(undefined, true), undefined, UNKNOWN],
])('nothing is made and nothing else is used where %s', (_, noted, there, replaces, named) => {
  const decided = decide(noted, there, replaces);
  if (decided.ok) throw new Error('This was to be refused');
  expect(decided.refusal.code).toBe('RepositoryAway');
  expect(`${decided.refusal.message} ${decided.refusal.wayOut}`).toMatch(new RegExp(named));
  expect(decided.refusal.wayOut).toContain(`BACKHAUL_REPOSITORY_REPLACES=${noted?.repositoryId ?? UNKNOWN}`);
});

test('an order that names what it replaces makes a new one, or takes the one that is there', () => {
  expect(decide(adopted, found(), ours)).toEqual({ ok: true, value: { make: true, replaces: ours } });
  expect(decide(adopted, found(other), ours)).toEqual({ ok: true, value: { adopt: other, replaces: ours } });
  expect(decide(undefined, found(undefined, true), UNKNOWN)).toEqual({
    ok: true,
    value: { make: true, replaces: null },
  });
});
