/** Found by the property test of the pool: a run that waited for a proxy which was ended as sick was never looked at again. */
import { expect, test } from 'vitest';
import { confirmed, healthChanged, planOf, TestPool } from './pool.fixture.ts';

test('a run goes on with what it has when a proxy that it waited for is ended as sick', () => {
  const pool = new TestPool();
  pool.request(planOf('web', [2], 2, { maxPortsPerProxy: 1, maxProxiesPerHost: 2 }));
  for (let step = 0; step < 2; step += 1) for (const action of pool.settle()) pool.confirm(action);
  const [first, second] = pool.pool.proxyVms.keys();
  for (const action of pool.settle())
    if (action.type === 'AttachDisk' && action.proxyId === first) pool.append(confirmed(action));
  expect(pool.leases()).toEqual([]);
  pool.append([healthChanged(second ?? '', 'sick')]);
  pool.run();
  expect(pool.leases()).toEqual(['web.d0.0@p1:0']);
});
