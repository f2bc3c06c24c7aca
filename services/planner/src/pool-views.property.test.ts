/** A view that begins with a kept pool is the one that all events make. */
import { fold } from '@backhaul/kernel';
import { emptyView, evolveView, type PoolView } from '@backhaul/planning';
import { happening, live, policy, TestPool } from '@backhaul/pool/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { viewOf } from './adapters/pool-views.ts';

/** In which order they came up makes no difference to a plan. */
const sorted = ({ activeProxies }: PoolView) =>
  activeProxies.toSorted((a, b) => a.proxyId.localeCompare(b.proxyId));

test('whatever happened to a host, its pool shows the proxies that its events show', () => {
  let shown = 0;
  const compare = ({ pool, history }: TestPool): void => {
    const view = sorted(viewOf(pool));
    expect(view).toEqual(sorted(fold(evolveView, emptyView, history)));
    shown += view.length;
  };
  fc.assert(
    fc.property(policy, fc.array(happening, { minLength: 20, maxLength: 80 }), (policies, history) =>
      live(new TestPool(), policies, history, 0, compare),
    ),
    { numRuns: 50 },
  );
  expect(shown).toBeGreaterThan(0);
});
