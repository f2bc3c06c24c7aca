/**
 * A source VM with QEMU's own guest agent in it (infra/appliance, agent-guest): a guest that appends numbered lines to a file
 * system on its disk, with a shell for the test.
 */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AgentGuest } from '@backhaul/appliance';
import { eventually, withDeadline } from '@backhaul/kernel';
import { GuestAgent } from '../qemu/guest-agent.ts';
import { runTool } from '../tool.ts';
import type { SourceDisk } from './source-vm.ts';
import type { VmHost } from './vm-host.ts';

export interface AgentVm {
  /** What a command in the guest says. Throws when it fails. */
  run(command: string): Promise<string>;
  /** How many lines the guest has written to its file system so far, durable or not. */
  lines(): Promise<number>;
}

/** Under emulation, on a machine with other things to do. */
const BOOT_MILLISECONDS = 60_000;
const COMMAND_MILLISECONDS = 20_000;
const milliseconds = 30_000;

/** Boots VM web with one disk, to which it writes already. */
export async function startAgentVm(fixture: VmHost, guest: AgentGuest, disk: SourceDisk): Promise<AgentVm> {
  await runTool('mke2fs', ['-q', '-t', 'ext4', disk.path], { milliseconds });
  const agent = join(fixture.folder, 'web.qga');
  const shell = join(fixture.folder, 'web.shell');
  await fixture.start(
    'web',
    [disk],
    ...['-m', '144', '-no-reboot', '-kernel', guest.kernel, '-initrd', guest.initramfs],
    ...['-append', guest.commandLine, '-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=agent,path=${agent},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=agent,name=${guest.agentChannel}`],
    ...['-chardev', `socket,id=shell,path=${shell},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=shell,name=${guest.shellChannel}`],
  );
  const run = (command: string): Promise<string> => inShell(shell, command, COMMAND_MILLISECONDS);
  const vm: AgentVm = {
    run,
    lines: async () => Number(await run('wc -l < /data/log')),
  };
  (await GuestAgent.connect(agent, BOOT_MILLISECONDS)).close();
  await eventually('The first line of the guest', COMMAND_MILLISECONDS, async () =>
    (await run('cat /data/log || true')).startsWith('1\n') ? true : undefined,
  );
  return vm;
}

async function inShell(path: string, command: string, milliseconds: number): Promise<string> {
  const socket = createConnection({ path });
  try {
    return await withDeadline(`"${command}" in the guest`, milliseconds, async () => {
      await once(socket, 'connect');
      socket.write(`${command}\n`);
      let said = '';
      for await (const line of createInterface({ input: socket })) {
        const status = /^status (\d+)$/.exec(line)?.[1];
        if (status === '0') return said;
        if (status !== undefined) throw new Error(`"${command}" in the guest failed (${status}): ${said}`);
        said += `${line}\n`;
      }
      throw new Error(`The guest's shell went away during "${command}", after "${said}"`);
    });
  } finally {
    socket.destroy();
  }
}
