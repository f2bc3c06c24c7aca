import { AssertionError } from 'node:assert';
import { Fault } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { openPatiently } from './open-patiently.ts';

function scene(reasonAt: (tries: number) => string | undefined) {
  const waits: number[] = [];
  let now = 0;
  const warned: string[] = [];
  const seen: string[] = [];
  let tries = 0;
  const opened = openPatiently({
    async open() {
      tries += 1;
      const reason = reasonAt(tries);
      if (reason !== undefined) throw new Fault(reason, { permanent: true });
      return 'the host';
    },
    onFailure: (reason) => seen.push(reason),
    log: {
      info: () => undefined,
      warn: ((_: object, message: string) => warned.push(message)) as never,
    },
    signal: new AbortController().signal,
    clock: {
      now: () => now,
      async pause(milliseconds) {
        waits.push(milliseconds);
        now += milliseconds;
      },
    },
  });
  return { opened, waits, warned, seen };
}

describe('what cannot be opened now', () => {
  test('is tried again ever more seldom, at least twice a minute, and is had when it is there', async () => {
    const { opened, waits, seen } = scene((tries) => (tries <= 8 ? 'not mounted' : undefined));
    expect(await opened).toBe('the host');
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(seen).toHaveLength(8);
  });

  test('is said once per reason, and every ten minutes while the reason stays', async () => {
    // 300 tries take two and a half hours.
    const { opened, warned } = scene((tries) =>
      tries > 300 ? undefined : tries === 1 ? 'not installed' : 'not mounted',
    );
    await opened;
    expect(warned.length).toBeGreaterThanOrEqual(2 + 13);
    expect(warned.length).toBeLessThanOrEqual(2 + 15);
  });

  test('is left when the signal comes, even while it is being opened', async () => {
    const stop = new AbortController();
    const opened = openPatiently({
      open: () => new Promise<string>(() => undefined),
      onFailure: () => undefined,
      log: { info: () => undefined, warn: () => undefined },
      signal: stop.signal,
    });
    stop.abort();
    expect(await opened).toBeUndefined();
  });

  test('is not waited for when it is a bug', async () => {
    await expect(
      openPatiently({
        open: () => Promise.reject(new AssertionError({ message: 'never' })),
        onFailure: () => undefined,
        log: { info: () => undefined, warn: () => undefined },
        signal: new AbortController().signal,
      }),
    ).rejects.toThrow('never');
  });
});
