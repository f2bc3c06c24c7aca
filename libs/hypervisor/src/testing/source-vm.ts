/**
 * A source VM for tests: a real QEMU process over given disk images. Its guest has no operating system; what a guest would write
 * is written through the guest's own device (`qemu-io -d` of the monitor), which takes the guest's path, filters and all.
 * `frozen` takes the truth independently of Backhaul: stop, copy, continue.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { markOf, type ProcessMark } from '../processes.ts';
import { type QmpClient, withQmp } from '../qmp.ts';
import { runTool } from '../tool.ts';

export interface SourceDisk {
  readonly diskId: string;
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  /** More options of the drive, such as `detect-zeroes=on`. */
  readonly drive?: string;
  /** More options of the device, such as `iothread=io0`. */
  readonly device?: string;
}

export interface SourceVmOptions {
  readonly vmId: string;
  /** Where its sockets go: the address of the host. */
  readonly folder: string;
  /** Where the tests' own files go. */
  readonly workFolder: string;
  readonly disks: readonly SourceDisk[];
  /** More command line. */
  readonly arguments?: readonly string[];
}

export interface SourceVm {
  readonly vmId: string;
  readonly mark: ProcessMark;
  /** Runs commands of qemu-io at the guest's device, as requests of the guest; returns what QEMU said of errors. */
  io(diskId: string, ...commands: string[]): Promise<string>;
  write(diskId: string, offset: number, data: Buffer): Promise<void>;
  /** The disk as the guest sees it now, taken while the guest stands still. */
  frozen(diskId: string): Promise<Buffer>;
  /** A monitor of the tests' own. */
  tell<T>(work: (qmp: QmpClient) => Promise<T>): Promise<T>;
  status(): Promise<string>;
  /** Power off: QEMU closes its images. */
  quit(): Promise<void>;
  kill(): Promise<void>;
}

const milliseconds = 30_000;

export async function startSourceVm(options: SourceVmOptions): Promise<SourceVm> {
  const { vmId, folder, workFolder, disks } = options;
  const control = join(workFolder, `${vmId}.control`);
  const monitor = join(folder, `${vmId}.qmp`);
  for (const socket of [control, monitor]) await rm(socket, { force: true });
  const drives = disks.flatMap(({ diskId, path, format, drive, device }, index) => [
    '-drive',
    [`if=none,id=drive${index},format=${format},file=${path}`, drive].filter(Boolean).join(','),
    '-device',
    [`virtio-blk-pci,drive=drive${index},id=${diskId}`, device].filter(Boolean).join(','),
  ]);
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'pc', '-accel', 'tcg', '-m', '32', '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-qmp', `unix:${control},server=on,wait=off`, '-qmp', `unix:${monitor},server=on,wait=off`],
      ...(options.arguments ?? []),
      ...drives,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const said = listen(child);
  const ended = once(child, 'close');
  const tell = <T>(work: (qmp: QmpClient) => Promise<T>): Promise<T> =>
    withQmp({ path: control, target: `source VM ${vmId}` }, work);
  await eventually(`The start of source VM ${vmId}`, milliseconds, async () => {
    if (child.exitCode !== null) throw new Fault(`Source VM ${vmId} did not start: ${said()}`);
    return await tell(async () => true).catch(() => undefined);
  });
  const mark = await markOf(child.pid ?? 0);
  if (mark === undefined) throw new Fault(`Source VM ${vmId} did not stay: ${said()}`);

  const deviceOf = (diskId: string) => `/machine/peripheral/${diskId}/virtio-backend`;
  const io = async (qmp: QmpClient, diskId: string, command: string): Promise<string> =>
    await qmp.execute('human-monitor-command', {
      arguments: { 'command-line': `qemu-io -d ${deviceOf(diskId)} "${command}"` },
      reply: z.string(),
    });
  const vm: SourceVm = {
    vmId,
    mark,
    tell,
    io: (diskId, ...commands) =>
      tell(async (qmp) => {
        let answers = '';
        for (const command of commands) answers += await io(qmp, diskId, command);
        return answers;
      }),
    async write(diskId, offset, data) {
      const source = join(workFolder, `${vmId}.${diskId}.data`);
      await writeFile(source, data);
      const errors = await vm.io(diskId, `write -s ${source} ${offset} ${data.length}`);
      await rm(source);
      if (errors !== '') throw new Fault(`Writing in source VM ${vmId} failed: ${errors}`);
    },
    async frozen(diskId) {
      const disk = disks.find((one) => one.diskId === diskId);
      if (disk === undefined) throw new Fault(`Source VM ${vmId} has no disk ${diskId}`);
      const copy = join(workFolder, `${vmId}.${diskId}.copy`);
      return await tell(async (qmp) => {
        await qmp.execute('stop');
        try {
          // What QEMU holds back of the image's tables has to be in the file before another process reads them.
          await io(qmp, diskId, 'flush');
          const args = ['convert', '-U', '-f', disk.format, '-O', 'raw', disk.path, copy];
          await runTool('qemu-img', args, { milliseconds });
        } finally {
          await qmp.execute('cont');
        }
        const contents = await readFile(copy);
        await rm(copy);
        return contents;
      });
    },
    status: () =>
      tell(
        async (qmp) =>
          (await qmp.execute('query-status', { reply: z.object({ status: z.string() }) })).status,
      ),
    async quit() {
      await tell(async (qmp) => await qmp.execute('quit')).catch(() => undefined);
      await ended;
    },
    async kill() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await ended;
    },
  };
  return vm;
}

function listen(child: ChildProcess): () => string {
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return () => said.trim();
}
