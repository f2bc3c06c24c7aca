import type { Recorded } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { explainRecovery } from './explain-recovery.ts';
import { proxyLines } from './explain-run.ts';
import { backupIdOf, recorded, recoveryStory, sharedProxyStory, teller } from './testing/story.ts';

const id = backupIdOf('r1');
const linesOf = (story: readonly Recorded[]): string => explainRecovery(id, story)?.lines.join('\n') ?? '';

test('a recovery is explained: what was asked, the arithmetic of the second quantity, the proxies and why each', () => {
  const story = recorded([
    ...sharedProxyStory(),
    ...recoveryStory({ name: 'r1', backup: 'b1', shared: true, interrupted: true }),
  ]);
  const lines = linesOf(story);
  expect(lines).toMatch(
    /^Asked for over nats by anna as request request-r1: backup .* \(VM web-1 on host lab, as of .*\) as VM web-2 on host lab, to be started, /,
  );
  expect(lines).toMatch(/Data streams: 1 disk \* maxStreamsPerDisk 2 = 2/);
  expect(lines).toMatch(/ceil\(2 \* portsPerStream 1 \/ maxPortsPerProxy 1\) = 2/);
  expect(lines).toMatch(/Proxy lab-shared \(shared\), because: active, with a free port; 2 leases\./);
  expect(lines).toMatch(
    /Proxy r1-p2 \(started for this recovery\), because: no active proxy has a free port; 1 lease;/,
  );
  expect(lines).toMatch(/Wave 1: 2 data streams through 2 proxies\./);
  expect(lines).toMatch(
    /Data stream .*\.vda\.0 was interrupted in attempt 1 at lab-shared: .*connection reset/,
  );
  expect(lines).toMatch(
    /\nCompleted: 24 MiB written of 32 MiB in 6 chunks, 8 MiB left as holes, 8 MiB read back and compared; VM web-2 stands, it runs\.$/,
  );
});

test('a VM that should run and does not is said at the end, with why', () => {
  const story = recorded(recoveryStory({ name: 'r1', backup: 'b1', end: 'does not start' }));
  expect(linesOf(story)).toMatch(/it should run and does not: no kernel was found\.$/);
});

test('what is emulated is said with its reason: the VM that was made, and proxies that were started for it', () => {
  const because = "KVM cannot be used: EACCES: permission denied, access '/dev/kvm'";
  const characteristics = {
    ...{ sessionsMax: 29, memoryBytes: 1, processors: 2, appliance: 'a' },
    ...{ accelerator: 'tcg', acceleratorBecause: because },
  };
  const acceleration = { accelerator: 'tcg', because };
  const told = { TargetKept: { acceleration }, ProxyActivated: { characteristics } } as Record<
    string,
    object
  >;
  const story = recorded(recoveryStory({ name: 'r1', backup: 'b1' })).map(
    (event) => ({ ...event, data: { ...event.data, ...told[event.type] } }) as Recorded,
  );
  const lines = linesOf(story);
  expect(lines).toContain(`Emulated and so much slower than with KVM: r1-p1, r1-p2, because: ${because}.`);
  expect(lines).toMatch(/VM web-2 stands, it runs emulated, because KVM cannot be used: EACCES.*\.$/);
  const fast = { accelerator: 'kvm', because: 'KVM could boot the appliance' };
  const accelerated = story.map((event) =>
    event.type === 'TargetKept'
      ? ({ ...event, data: { ...event.data, acceleration: fast } } as Recorded)
      : event,
  );
  expect(linesOf(accelerated)).toMatch(/VM web-2 stands, it runs with KVM\.$/);
});

test('a failure names disk, offset and digest, and the restore point that is whole', () => {
  const story = recorded(recoveryStory({ name: 'r1', backup: 'b1', end: 'damaged' }));
  expect(explainRecovery(id, story)).toMatchObject({
    state: 'failed',
    refusal: { code: 'ChunkDamaged' },
    alternative: { backupId: backupIdOf('older') },
  });
  expect(linesOf(story)).toMatch(
    /Failed: Disk vda at 16777216: chunk (ab){32} is damaged\..*\nThe newest older restore point that is whole: backup /,
  );
});

test('what a proxy of its own suffers when the recovery has given everything back is not its loss', () => {
  const story = recorded(recoveryStory({ name: 'r1', backup: 'b1' }));
  const tell = teller(id);
  tell.append('host', 'lab', 'ProxyLost', { hostId: 'lab', proxyId: 'r1-p1', reason: 'signal 9' });
  expect(explainRecovery(id, [...story, ...recorded(tell.told, 900)])?.losses).toEqual([]);
  expect(explainRecovery(id, [...story.slice(0, -5), ...recorded(tell.told, 900)])?.losses).toHaveLength(1);
});

test('is the same with and without its chunks, and events of no recovery explain nothing', () => {
  const story = recorded(recoveryStory({ name: 'r1', backup: 'b1' }));
  const without = story.filter((event) => event.type !== 'ChunkExported');
  expect(explainRecovery(id, without)).toEqual(explainRecovery(id, story));
  expect(explainRecovery('nobody', story)).toBeUndefined();
});

test('direct to the host no proxy is spoken of', () => {
  const waves = [{ wave: 1, childJobs: 2, proxies: 1 }];
  const lines = proxyLines({ proxies: [], shortfall: null, waves }, { run: 'recovery', job: 'data stream' });
  expect(lines).toEqual(["Wave 1: 2 data streams through the host's own export."]);
});
