import { type HealthReading, healthReadings, type Observation, type Sighting } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { planOf, TestPool } from './pool.fixture.ts';
import { type HealthWatch, healthChanges, judge } from './proxy-health.ts';

const memory = (value: number): HealthReading => ({ ...healthReadings.memoryAvailable, value });
const crashes = (value: number): HealthReading => ({ ...healthReadings.serverCrashes, value });

describe('a judgement', () => {
  test.each([
    [60, 'good'],
    [14, 'degraded'],
    [4, 'sick'],
  ] as const)('memory available %d %% is %s', (value, health) => {
    expect(judge('good', [memory(value)]).health).toBe(health);
  });

  test('is left at a better value than it was entered at', () => {
    expect(judge('degraded', [memory(17)]).health).toBe('degraded');
    expect(judge('good', [memory(17)]).health).toBe('good');
    expect(judge('sick', [memory(7)]).health).toBe('sick');
    expect(judge('sick', [memory(12)]).health).toBe('degraded');
    expect(judge('sick', [memory(30)]).health).toBe('good');
  });

  test('is that of the worst item, and names it with the limit that it passed', () => {
    const { health, detail, items } = judge('good', [memory(60), crashes(7)]);
    expect([health, detail]).toEqual(['sick', 'server crashes 7 in a minute (sick from 6)']);
    expect(items.map(({ state, limit }) => [state, limit])).toEqual([
      ['good', 15],
      ['sick', 6],
    ]);
  });

  test('never makes a proxy sick for what may be its host’s trouble', () => {
    const worst = [
      { ...healthReadings.answer, value: 14_000 },
      { ...healthReadings.load, value: 99 },
    ];
    expect(judge('good', worst).health).toBe('degraded');
  });

  test('expects nothing of what it does not know', () => {
    expect(judge('good', [{ name: 'mood', value: -1, unit: '' }])).toMatchObject({
      health: 'good',
      items: [{ limit: null, state: 'good' }],
    });
  });
});

describe('a change of health', () => {
  const pool = new TestPool();
  pool.request(planOf('web', [1], 1));
  pool.run();
  const proxyId = [...pool.pool.proxyVms.keys()][0] ?? '';
  const seen = (value: number, state: Sighting = 'alive'): Observation => ({
    proxies: [{ proxyId, state, detail: '', attachments: [], readings: [memory(value)] }],
    snapshots: [],
    targets: [],
    fills: [],
  });
  /** What looks at these values, so many milliseconds apart, make known. */
  const looks = (values: readonly number[], apart = 3_000): string[] => {
    let watch: HealthWatch = new Map();
    return values.flatMap((value, index) => {
      const looked = healthChanges(pool.pool, seen(value), watch, index * apart);
      watch = looked.watch;
      return looked.events.map((event) => (event.type === 'ProxyHealthChanged' ? event.data.health : ''));
    });
  };

  test('is told when two looks in a row agree, and not before', () => {
    expect(looks([4])).toEqual([]);
    expect(looks([4, 4])).toEqual(['sick']);
    expect(looks([4, 60, 4, 60, 4])).toEqual([]);
    expect(looks([4, 10, 10])).toEqual(['degraded']);
  });

  test('is not told by two looks that are one moment', () => {
    expect(looks([4, 4, 4], 20)).toEqual([]);
    expect(looks([4, 4, 4], 500)).toEqual(['sick']);
  });

  test('is not told of a proxy that is not alive: that is a loss', () => {
    const { events, watch } = healthChanges(pool.pool, seen(0, 'gone'), new Map(), 0);
    expect([events, watch.size]).toEqual([[], 0]);
  });
});
