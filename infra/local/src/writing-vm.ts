/**
 * A source VM as tests and the demo need one: a QEMU process over given images whose guest writes numbered records to all its disks
 * from the moment it boots (infra/appliance, writing-guest). It has a monitor for Backhaul in the folder that is the address of
 * a qemu host, and one of its own for whoever started it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { WritingGuest } from '@backhaul/appliance';
import { type QmpClient, withQmp } from '@backhaul/hypervisor';
import { eventually, Fault } from '@backhaul/kernel';
import { z } from 'zod';

export interface WritingVmOptions {
  readonly vmId: string;
  /** The address of the qemu host. */
  readonly folder: string;
  readonly guest: WritingGuest;
  readonly disks: readonly {
    readonly diskId: string;
    readonly path: string;
    readonly format: 'raw' | 'qcow2';
  }[];
  readonly pauseMilliseconds?: number;
  /** Power off after so many records. */
  readonly records?: number;
}

export interface WritingVm {
  readonly vmId: string;
  readonly pid: number;
  /** `running`, `paused` ... as QEMU says it. */
  status(): Promise<string>;
  stop(): Promise<void>;
  go(): Promise<void>;
  /** How often the guest has written to its disks since it started. */
  writes(): Promise<number>;
  /** Waits until it has written so often. */
  hasWritten(writes: number): Promise<void>;
  /** What Backhaul left in it: nodes, exports and bitmaps that bear its name. */
  leftovers(): Promise<string[]>;
  readonly ended: Promise<unknown>;
  kill(): Promise<void>;
  /** As a power off: QEMU closes its images. */
  quit(): Promise<void>;
}

const START_MILLISECONDS = 120_000;
const BlockStats = z.array(
  z.object({ qdev: z.string().optional(), stats: z.object({ wr_operations: z.int() }) }),
);
const Nodes = z.array(
  z.object({
    'node-name': z.string(),
    'dirty-bitmaps': z.array(z.object({ name: z.string().optional() })).default([]),
  }),
);
const Exports = z.array(z.object({ id: z.string() }));

export async function startWritingVm(options: WritingVmOptions): Promise<WritingVm> {
  const { vmId, folder, guest, disks } = options;
  const control = join(folder, `${vmId}.control`);
  const monitor = join(folder, `${vmId}.qmp`);
  for (const socket of [control, monitor]) await rm(socket, { force: true });
  const { pauseMilliseconds, records } = options;
  const commandLine = guest.commandLine({
    ...(pauseMilliseconds === undefined ? {} : { pauseMilliseconds }),
    ...(records === undefined ? {} : { records }),
  });
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-name', vmId, '-M', 'pc', '-accel', 'tcg', '-m', '128', '-nodefaults', '-no-user-config'],
      ...['-display', 'none', '-no-reboot', '-kernel', guest.kernel, '-initrd', guest.initramfs],
      ...['-append', commandLine],
      ...['-qmp', `unix:${control},server=on,wait=off`, '-qmp', `unix:${monitor},server=on,wait=off`],
      ...disks.flatMap(({ diskId, path, format }) => [
        ...['-blockdev', `driver=${format},node-name=node-${diskId},file.driver=file,file.filename=${path}`],
        ...['-device', `virtio-blk-pci,drive=node-${diskId},id=${diskId}`],
      ]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const said = listen(child);
  const ended = once(child, 'close');
  // However this process ends, the VM does not stay behind without its owner.
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killAtExit);
  child.once('close', () => process.off('exit', killAtExit));
  const tell = <T>(work: (qmp: QmpClient) => Promise<T>): Promise<T> =>
    withQmp({ path: control, target: `source VM ${vmId}` }, work);
  const writes = () =>
    tell(async (qmp) =>
      (await qmp.execute('query-blockstats', { reply: BlockStats })).reduce(
        (sum, { stats }) => sum + stats.wr_operations,
        0,
      ),
    );
  const vm: WritingVm = {
    vmId,
    pid: child.pid ?? 0,
    ended,
    status: () =>
      tell(
        async (qmp) =>
          (await qmp.execute('query-status', { reply: z.object({ status: z.string() }) })).status,
      ),
    stop: () => tell(async (qmp) => void (await qmp.execute('stop'))),
    go: () => tell(async (qmp) => void (await qmp.execute('cont'))),
    writes,
    async hasWritten(count) {
      await eventually(`${count} writes of source VM ${vmId}`, START_MILLISECONDS, async () =>
        (await writes()) >= count ? true : undefined,
      );
    },
    leftovers: () =>
      tell(async (qmp) => {
        const nodes = await qmp.execute('query-named-block-nodes', { reply: Nodes });
        const exports = await qmp.execute('query-block-exports', { reply: Exports });
        const own = disks.map(({ diskId }) => `node-${diskId}`);
        return [
          ...nodes
            .map((node) => node['node-name'])
            .filter((name) => !name.startsWith('#') && !own.includes(name)),
          ...exports.map(({ id }) => `export ${id}`),
        ];
      }),
    async kill() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await ended;
    },
    async quit() {
      await tell((qmp) => qmp.execute('quit')).catch(() => undefined);
      if (child.exitCode === null && child.signalCode === null) await ended;
    },
  };
  try {
    await eventually(`The start of source VM ${vmId}`, START_MILLISECONDS, async () => {
      if (child.exitCode !== null) throw new Fault(`Source VM ${vmId} did not start: ${said()}`);
      return await writes().then(
        () => true,
        () => undefined,
      );
    });
    return vm;
  } catch (error) {
    await vm.kill();
    throw error;
  }
}

/** The end of what it says on its standard error. */
function listen(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    text = `${text}${more}`.slice(-2000);
  });
  return () => text.trim();
}
