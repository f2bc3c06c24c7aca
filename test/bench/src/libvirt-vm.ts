/**
 * A VM that libvirt runs, for peers that need one: started by a libvirtd of the benchmark's own, under emulation, with a second
 * monitor for Backhaul, so that both back up the same VM. A libvirtd of root would use the machine's folders; another user's keeps
 * to those it is told. So as root it runs as nobody, who may do one thing more than others: open files whoever owns them, because
 * its QEMU writes to scratch files that the host has made.
 */
import { execFile, spawn } from 'node:child_process';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, Fault } from '@backhaul/kernel';

const run = promisify(execFile);
const NOBODY = 65_534;
const START_MILLISECONDS = 120_000;
/** As libvirt calls it and its device. */
export const TARGET = 'vda';
export const DEVICE = 'virtio-disk0';

export interface LibvirtVm {
  /** What commands that talk to this libvirtd begin with in a shell, and their environment. */
  readonly prefix: string;
  readonly environment: Readonly<Record<string, string>>;
  /** A folder that they may write to. */
  readonly folder: string;
  /** Writes as the guest does. */
  write(offset: string, length: string, pattern: number): Promise<void>;
  /**
   * Lets others have the one NBD server of its QEMU, which Backhaul keeps for as long as the VM runs (docs/adr/0008): a client that
   * is just shaking hands could hang the VM here, and there is none.
   */
  freeNbdServer(): Promise<void>;
  stop(): Promise<void>;
}

export async function startLibvirtVm(options: {
  readonly folder: string;
  readonly vmId: string;
  readonly image: string;
  /** Of the monitor that Backhaul gets. */
  readonly monitor: string;
}): Promise<LibvirtVm> {
  const { folder, vmId, image, monitor } = options;
  const isRoot = process.getuid?.() === 0;
  const [program, ...args] = isRoot
    ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...only('+dac_override'), '--']
    : ['env'];
  const environment = {
    HOME: folder,
    XDG_CONFIG_HOME: join(folder, 'config'),
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_DATA_HOME: join(folder, 'data'),
    XDG_RUNTIME_DIR: join(folder, 'run'),
  };
  for (const each of [folder, ...Object.values(environment), join(environment.XDG_CONFIG_HOME, 'libvirt')]) {
    await mkdir(each, { recursive: true });
    if (isRoot) await chown(each, NOBODY, NOBODY);
  }
  // There is no virtlogd that would keep what a VM says.
  await writeFile(join(environment.XDG_CONFIG_HOME, 'libvirt', 'qemu.conf'), 'stdio_handler = "file"\n');
  const definition = join(folder, 'domain.xml');
  await writeFile(definition, domain(vmId, image, monitor));

  const env = { ...process.env, ...environment };
  const daemon = spawn(program ?? '', [...args, 'libvirtd'], {
    cwd: '/',
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = `${said}${text}`.slice(-2000);
  });
  const ended = new Promise<void>((resolve) => {
    daemon.once('error', () => resolve()).once('exit', () => resolve());
  });
  const virsh = (...command: string[]) =>
    run(program ?? '', [...args, 'virsh', '-q', '-c', 'qemu:///session', ...command], { cwd: '/', env });
  const stop = async (): Promise<void> => {
    // A daemon that ends leaves its VMs running.
    await virsh('destroy', vmId).catch(() => undefined);
    daemon.kill('SIGTERM');
    await ended;
  };
  try {
    await eventually('An answer of libvirtd', START_MILLISECONDS, async () => {
      if (daemon.exitCode !== null) throw new Fault(`libvirtd ended: ${said.trim()}`);
      return await virsh('version', '--daemon').then(
        () => true,
        () => undefined,
      );
    });
    await virsh('define', definition);
    await virsh('start', vmId);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    prefix: [program, ...args].join(' '),
    environment,
    folder,
    async write(offset, length, pattern) {
      const device = `/machine/peripheral/${DEVICE}/virtio-backend`;
      const command = `qemu-io -d ${device} "write -P ${pattern} ${offset} ${length}"`;
      const { stdout } = await virsh('qemu-monitor-command', vmId, '--hmp', command);
      if (stdout.trim() !== '') throw new Fault(`Writing in VM ${vmId} failed: ${stdout.trim()}`);
    },
    freeNbdServer: async () => {
      await virsh('qemu-monitor-command', vmId, '{"execute":"nbd-server-stop"}');
    },
    stop,
  };
}

/** The one capability that is kept, through every program that is started. */
const only = (capability: string): string[] =>
  ['inh-caps', 'ambient-caps', 'bounding-set'].map((set) => `--${set}=-all,${capability}`);

const domain = (vmId: string, image: string, monitor: string): string => `
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${vmId}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='${image}'/>
      <target dev='${TARGET}' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-qmp'/>
    <qemu:arg value='unix:${monitor},server=on,wait=off'/>
  </qemu:commandline>
</domain>
`;
