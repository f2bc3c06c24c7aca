/** A disk keeps its size while its frozen disk is read: QEMU would let it go, and end the VM where the frozen disk is larger than what it is made of. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import type { HypervisorHost } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { readExport } from '../testing/read-export.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';

const Drives = z.array(z.object({ inserted: z.object({ 'node-name': z.string() }) }));
const MiB = 1 << 20;
let fixture: VmHost;
let host: HypervisorHost;

beforeEach(async () => {
  fixture = await makeVmHost();
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
});

const imageNode = (): Promise<string> =>
  fixture
    .vm()
    .tell(
      async (qmp) => (await qmp.execute('query-block', { reply: Drives }))[0]?.inserted['node-name'] ?? '',
    );
const resize = (what: object, size: number): Promise<unknown> =>
  fixture.vm().tell((qmp) => qmp.execute('block_resize', { arguments: { ...what, size } }));

test.each([
  ['vda.qcow2', 12 * MiB],
  ['vda.qcow2', 4 * MiB],
  ['vda.raw', 12 * MiB],
  ['vda.raw', 4 * MiB],
])(
  '%s is not made %d bytes long before its snapshot is given back, however that is asked',
  async (name, size) => {
    const disk = await fixture.create(name, '8M');
    await fixture.io(disk, 'write -P 0x11 0 8M');
    await fixture.start('web', [disk]);
    const before = await fixture.contents('vda');
    const ways = [{ 'node-name': await imageNode() }, { device: 'drive0' }];
    const snapshotId = randomUUID();
    const none = { kind: 'full', parentCheckpoint: null, parentIdentity: null } as const;
    const snapshot = must(
      await host.takeSnapshot({ snapshotId, vmId: 'web', disks: [{ diskId: 'vda', ...none }] }),
    );
    // A refusal leaves everything as it was: the guest writes on, and the instant is read to its end.
    for (const way of ways) await expect(resize(way, size)).rejects.toThrow(/Permission conflict.*resize/);
    expect(await fixture.vm().io('vda', 'write -P 0x22 7M 1M')).toBe('');
    expect((await readExport(snapshot.disks[0]?.endpoint ?? '')).equals(before)).toBe(true);
    await host.releaseSnapshot(snapshotId, 'web', 'committed');

    await resize({ device: 'drive0' }, size);
    const order = incrementalOrder(randomUUID(), 'web', restorePointOf(snapshotId, snapshot));
    expect(must(await host.takeSnapshot(order)).disks).toMatchObject([
      {
        kind: 'full',
        sizeBytes: size,
        fallbackReason: expect.stringMatching(/and had 8388608 at the parent/),
      },
    ]);
    await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
  },
);
