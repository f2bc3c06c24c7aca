/** Lanes against a plain walk over all jobs: the same bytes by the same milliseconds, whatever starts and stops when. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fairRate } from './fair-share.ts';
import { Transfers, type Way } from './transfers.ts';

const HOST_RATE = 1000;
const PROXY_RATE = 400;

interface PlainJob {
  readonly way: Way;
  left: number;
}

/** Every job's rate by water filling in small steps of thought: first within its proxy, then within the host. */
function plainRates(jobs: readonly PlainJob[]): number[] {
  const inProxy = jobs.map(({ way }) => {
    const others = jobs.filter((job) => job.way.proxyId === way.proxyId);
    const most = fairRate(
      others.map((job) => ({ jobs: 1, rateMax: job.way.jobRateMax })),
      way.proxyRateMax,
    );
    return Math.min(way.jobRateMax, most);
  });
  const most = fairRate(
    inProxy.map((rateMax) => ({ jobs: 1, rateMax })),
    HOST_RATE,
  );
  return inProxy.map((rate) => Math.min(rate, most));
}

const step = fc.record({
  what: fc.constantFrom('start', 'start', 'stop', 'wait'),
  proxy: fc.nat(3),
  ports: fc.integer({ min: 1, max: 3 }),
  bytes: fc.nat(100_000),
  pick: fc.nat(50),
});

test('every job moves what a plain walk says, and none is forgotten', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const transfers = new Transfers(0, HOST_RATE);
      const plain = new Map<string, PlainJob>();
      let now = 0;
      for (const [number, { what, proxy, ports, bytes, pick }] of steps.entries()) {
        if (what === 'start') {
          const way = { proxyId: `p${proxy}`, ports, jobRateMax: 150 * ports, proxyRateMax: PROXY_RATE };
          transfers.start(`j${number}`, bytes, way);
          plain.set(`j${number}`, { way, left: bytes });
        } else if (what === 'stop') {
          const [jobId, job] = [...plain][pick % Math.max(1, plain.size)] ?? [];
          if (jobId === undefined || job === undefined) continue;
          plain.delete(jobId);
          transfers.stop(jobId);
        } else {
          const until = now + pick * 100;
          for (;;) {
            const end = transfers.nextEnd;
            const to = Math.min(until, end ?? until);
            const rates = plainRates([...plain.values()]);
            expect(transfers.rate).toBeCloseTo(
              rates.reduce((sum, rate) => sum + rate, 0),
              6,
            );
            for (const [index, job] of [...plain.values()].entries())
              job.left -= ((rates[index] ?? 0) * (to - now)) / 1000;
            transfers.advance(to);
            now = to;
            const ended = transfers.takeEnded();
            for (const jobId of ended) {
              // Within the millisecond that ends are rounded up to.
              expect(Math.abs(plain.get(jobId)?.left ?? Number.NaN)).toBeLessThan(1 + PROXY_RATE / 1000);
              plain.delete(jobId);
            }
            for (const { left } of plain.values()) expect(left).toBeGreaterThan(0);
            if (ended.length === 0 && to === until) break;
          }
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('what a job has moved when it is stopped is what time and rate say', () => {
  const transfers = new Transfers(0, HOST_RATE);
  transfers.start('a', 1000, { proxyId: 'p', ports: 1, jobRateMax: 100, proxyRateMax: PROXY_RATE });
  transfers.advance(2500);
  expect(transfers.stop('a')).toBe(250);
  expect(transfers.stop('a')).toBeUndefined();
  expect(transfers.nextEnd).toBeUndefined();
});

test('what one cannot take goes to the others', () => {
  // 10 each of 30 would do; one takes only 4, so the others have 13.
  expect(
    fairRate(
      [
        { jobs: 1, rateMax: 4 },
        { jobs: 2, rateMax: 100 },
      ],
      30,
    ),
  ).toBe(13);
  expect(fairRate([{ jobs: 3, rateMax: 10 }], 30)).toBe(Number.POSITIVE_INFINITY);
});
