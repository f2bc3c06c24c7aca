/** Looks in a real QEMU: one that is renewed outlives its first time, and leaves nothing; one that died is taken away. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';
import { endExpiredLooks, LookLease } from './look-lease.ts';
import { allDisksOf } from './vm-disks.ts';
import { addExports, allExportIds } from './vm-exports.ts';
import { VmFolder } from './vm-folder.ts';

let fixture: VmHost;
beforeEach(async () => {
  fixture = await makeVmHost();
});
afterEach(async () => {
  await fixture?.remove();
});

const limits = { standsMilliseconds: 1_000, renewedAfterMilliseconds: 500, longestMilliseconds: 10_000 };
const ROUNDS = 3;

test('a look that is renewed stands for as long as it goes on, and what a dead one left is taken away', async () => {
  const disk = await fixture.create('vda.qcow2', '8M');
  await fixture.start('web', [disk]);
  const vms = new VmFolder(fixture.folder, 'h1');
  const left = (): Promise<string[]> =>
    vms.tell('web', async (qmp) => [
      ...(await allExportIds(qmp)),
      ...(await allDisksOf(qmp)).flatMap(({ bitmaps }) => bitmaps.map(({ name }) => name)),
    ]);
  const begin = async (now: number): Promise<LookLease> => {
    const lease = new LookLease(now, limits);
    await vms.tell('web', async (qmp) => {
      const [looked] = await allDisksOf(qmp);
      if (looked === undefined) throw new Error('There is no disk');
      const name = `${lease.id}vda`;
      await addExports(qmp, vms.nbdSocketOf('web'), [{ id: name, name, node: looked.node, bitmap: null }]);
    });
    return lease;
  };
  const renewed = await begin(0);
  const dead = await begin(0);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const now = round * 900;
    await vms.tell('web', async (qmp) => {
      const [looked] = await allDisksOf(qmp);
      if (looked !== undefined) await renewed.renew(qmp, looked, now);
      await endExpiredLooks(qmp, now + 200);
    });
  }
  // Its export, and one thing that says how long it stands.
  const standing = await left();
  expect(standing).toEqual([`${renewed.id}vda`, expect.stringMatching(/^backhaul-look\.3700\./)]);
  expect(standing.filter((id) => id.startsWith(dead.id))).toEqual([]);

  await vms.tell('web', (qmp) => renewed.end(qmp));
  expect(await left()).toEqual([]);
  const died = await begin(0);
  await vms.tell('web', async (qmp) => {
    const [looked] = await allDisksOf(qmp);
    if (looked !== undefined) await died.renew(qmp, looked, 500);
    await endExpiredLooks(qmp, 1_501);
  });
  expect(await left()).toEqual([]);
});
