import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Figures, type Need, rankProxies as rank } from './rank-proxies.ts';
import type { Speed } from './throughput.ts';

const MiB = 1024 ** 2;
const NEED = { ports: 1, disks: 2 };

/** With the speed that the run sees. */
type Seen = Figures & { readonly speed: Speed | undefined };
const rankProxies = (all: readonly Seen[], need: Need) =>
  rank(all, need, (proxyId) => all.find((one) => one.proxyId === proxyId)?.speed);

const proxy = (proxyId: string, figures: Partial<Seen> = {}): Seen => ({
  proxyId,
  state: 'active',
  endsBecause: '',
  ports: 4,
  freePorts: 4,
  load: 0,
  room: 13,
  sessions: 13,
  health: 'good',
  healthDetail: '',
  speed: undefined,
  otherRuns: 0,
  ...figures,
});
const speed = (mib: number, from: 'vm' | 'storage' | 'proxy' | undefined = 'vm') => ({
  speed: { bytesPerSecond: mib * MiB, from },
});

/** Two proxies, and why the second stands behind the first. */
function behind(first: Seen, second: Seen): string {
  const ranking = rankProxies([second, first], NEED);
  const [winner, loser] = [...ranking.whole, ...ranking.partial];
  expect([winner?.figures.proxyId, loser?.figures.proxyId]).toEqual([first.proxyId, second.proxyId]);
  return winner === undefined || loser === undefined ? '' : ranking.outrankedBy(loser, winner);
}
const excluded = (figures: Partial<Figures>): string | undefined =>
  rankProxies([proxy('p1', figures)], NEED).excluded[0]?.reason;

describe('a proxy cannot serve', () => {
  test.each<[Partial<Figures>, string]>([
    [{ health: 'sick', healthDetail: 'memory available 4 %' }, 'sick: memory available 4 %'],
    [{ state: 'lost', endsBecause: 'killed' }, 'lost: killed'],
    [{ state: 'retiring', endsBecause: 'idle for 60 seconds' }, 'it is being ended: idle for 60 seconds'],
    [{ ports: 0 }, 'too few ports: 0 of the 1 that a child job needs'],
    [{ room: 0 }, 'no room: 13 of 13 disks'],
  ])('%j: %s', (figures, reason) => {
    expect(excluded(figures)).toBe(reason);
  });
});

describe('of two that can serve, what decides is, in this order,', () => {
  const worse = {
    health: 'degraded' as const,
    healthDetail: 'load 9 per port',
    ...speed(1),
    load: 3,
    otherRuns: 9,
  };

  test('holding all the disks that it would be given', () => {
    expect(behind(proxy('p2', worse), proxy('p1', { room: 1 }))).toBe(
      'room for 1 of the 2 disks that it would be given',
    );
  });
  test('good health, however fast the other is', () => {
    const busy = { freePorts: 0, load: 4, ...speed(1) };
    expect(
      behind(
        proxy('p2', busy),
        proxy('p1', { health: 'degraded', healthDetail: 'load 9 per port', ...speed(99) }),
      ),
    ).toBe('degraded: load 9 per port');
  });
  test('a port free for a child job now', () => {
    expect(behind(proxy('p2', speed(1)), proxy('p1', { freePorts: 0, load: 4, ...speed(99) }))).toBe(
      'busy: 4 of 4 ports taken',
    );
  });
  test('speed for this VM', () => {
    expect(behind(proxy('p2', { ...speed(88), load: 3, freePorts: 1 }), proxy('p1', speed(41)))).toBe(
      'slower for this VM: 41 MiB/s against 88 MiB/s',
    );
  });
  test('ports left, where the speeds are about the same', () => {
    expect(behind(proxy('p2', { ...speed(70), load: 1 }), proxy('p1', { ...speed(90), load: 3 }))).toBe(
      'more loaded: ports left 1 against 3',
    );
  });
  test('few other runs', () => {
    expect(behind(proxy('p2', { otherRuns: 1 }), proxy('p1', { otherRuns: 2 }))).toBe(
      'it would disturb more: 2 other runs on it against 1',
    );
  });
  test('and at last the name', () => {
    expect(behind(proxy('p1'), proxy('p2'))).toBe('equal to p1, which comes first by its name');
  });
});

test('one of which nothing is known is neither preferred to a fast one nor put behind a slow one', () => {
  const all = [proxy('slow', speed(20)), proxy('unknown', speed(60, undefined)), proxy('fast', speed(100))];
  expect(rankProxies(all, NEED).whole.map(({ figures }) => figures.proxyId)).toEqual([
    'fast',
    'unknown',
    'slow',
  ]);
});

const figures = fc.record({
  state: fc.constantFrom('active', 'active', 'requested', 'retiring', 'lost'),
  endsBecause: fc.constant('because'),
  ports: fc.integer({ min: 0, max: 4 }),
  freePorts: fc.integer({ min: 0, max: 4 }),
  load: fc.integer({ min: 0, max: 4 }),
  room: fc.integer({ min: 0, max: 3 }),
  sessions: fc.constant(3),
  health: fc.constantFrom('good', 'good', 'degraded', 'sick'),
  healthDetail: fc.constant('detail'),
  speed: fc.option(
    fc.record({
      bytesPerSecond: fc.integer({ min: 0, max: 100 * MiB }),
      from: fc.constantFrom('vm', 'storage', 'proxy', undefined),
    }),
    { nil: undefined },
  ),
  otherRuns: fc.nat(3),
}) satisfies fc.Arbitrary<Omit<Seen, 'proxyId'>>;
const pool = fc
  .array(figures, { maxLength: 12 })
  .map((all) => all.map((each, index): Seen => ({ proxyId: `p${index}`, ...each })));
const need = fc.record({ ports: fc.integer({ min: 1, max: 3 }), disks: fc.integer({ min: 1, max: 3 }) });

test('the order is total, and the same however the proxies are listed', () => {
  fc.assert(
    fc.property(
      pool.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
      need,
      ([all, shuffled], wanted) => {
        const [one, two] = [rankProxies(all, wanted), rankProxies(shuffled, wanted)];
        expect([two.whole, two.partial, two.excluded]).toEqual([one.whole, one.partial, one.excluded]);
        const listed = [...one.whole, ...one.partial, ...one.excluded];
        expect(listed.map(({ figures }) => figures.proxyId).sort()).toEqual(
          all.map(({ proxyId }) => proxyId).sort(),
        );
      },
    ),
  );
});

test('what cannot serve or is sick is never ranked, and nothing degraded stands before what is good and can hold as much', () => {
  fc.assert(
    fc.property(pool, need, (all, wanted) => {
      const { whole, partial } = rankProxies(all, wanted);
      for (const { figures } of [...whole, ...partial]) {
        const { state, health, ports, room } = figures;
        expect(['active', 'requested']).toContain(state);
        expect(health).not.toBe('sick');
        expect(ports).toBeGreaterThanOrEqual(wanted.ports);
        expect(room).toBeGreaterThan(0);
      }
      for (const tier of [whole, partial]) {
        const healths = tier.map(({ figures }) => figures.health);
        expect(healths).toEqual([...healths].sort((a, b) => (a === b ? 0 : a === 'good' ? -1 : 1)));
      }
    }),
  );
});
