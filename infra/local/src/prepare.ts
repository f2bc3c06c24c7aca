/**
 * Brings what a fresh machine lacks: nats-server, QEMU's tools and what the tests (`--bench`: the benchmarks' peers) use. Says
 * what it installs. As root on Debian and its kin it installs; elsewhere it says in one line what to install, and ends.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

interface Tool {
  readonly command: string;
  /** Debian's package that has it. */
  readonly package: string;
  readonly for: string;
}

const needed: readonly Tool[] = [
  { command: 'nats-server', package: 'nats-server', for: 'messages between services' },
  { command: 'qemu-img', package: 'qemu-utils', for: 'disk images' },
  { command: 'qemu-nbd', package: 'qemu-utils', for: 'tests against other NBD servers' },
  { command: 'qemu-io', package: 'qemu-utils', for: 'writing to disk images' },
  {
    command: 'qemu-storage-daemon',
    package: 'qemu-system-common',
    for: 'proxies and snapshots of a directory host',
  },
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86', for: 'proxy VMs of a qemu host' },
  { command: 'nbdkit', package: 'nbdkit', for: 'tests against other NBD servers' },
  { command: 'nbdinfo', package: 'libnbd-bin', for: 'tests against other NBD clients' },
  { command: 'mke2fs', package: 'e2fsprogs', for: 'making a disk image from files' },
  { command: 'syslinux', package: 'syslinux', for: 'making a disk that a VM boots from' },
  { command: 'mcopy', package: 'mtools', for: 'making a disk that a VM boots from' },
  { command: 'ip', package: 'iproute2', for: 'a network with proxies in tests' },
  { command: 'mkfs.vfat', package: 'dosfstools', for: 'making a disk that a VM boots from' },
];

const peers: readonly Tool[] = [
  { command: 'nbdcopy', package: 'libnbd-bin', for: 'benchmark peer' },
  { command: 'restic', package: 'restic', for: 'benchmark peer' },
  { command: 'borg', package: 'borgbackup', for: 'benchmark peer' },
  { command: 'zstd', package: 'zstd', for: 'benchmark peer' },
  { command: 'virtnbdbackup', package: 'virtnbdbackup', for: 'benchmark peer' },
  { command: 'libvirtd', package: 'libvirt-daemon', for: 'the VM of a benchmark peer' },
  { command: 'virt-qemu-run', package: 'libvirt-daemon-driver-qemu', for: 'the VM of a benchmark peer' },
  { command: 'virsh', package: 'libvirt-clients', for: 'the VM of a benchmark peer' },
];

const onPath = (command: string): boolean =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) =>
    existsSync(join(folder, command)),
  );

function install(packages: readonly string[]): void {
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [
    ['update', '-qq'],
    ['install', '-y', '-qq', '--no-install-recommends', ...packages],
  ]) {
    const { status, stdout, stderr } = spawnSync('apt-get', args, {
      env: environment,
      encoding: 'utf8',
      timeout: 600_000,
    });
    if (status === 0) continue;
    console.error(
      `apt-get ${args[0]} failed (status ${status}): ${`${stdout}${stderr}`.trim().slice(-2000)}`,
    );
    process.exit(1);
  }
}

const tools = process.argv.includes('--bench') ? [...needed, ...peers] : needed;
const missing = tools.filter(({ command }) => !onPath(command));
if (missing.length > 0) {
  const packages = [...new Set(missing.map((tool) => tool.package))];
  for (const tool of missing) console.log(`missing: ${tool.command} (${tool.for})`);
  if (process.getuid?.() !== 0 || !onPath('apt-get')) {
    console.error(`Install these packages (names as in Debian), then run this again: ${packages.join(' ')}`);
    process.exit(1);
  }
  console.log(`installing with apt-get: ${packages.join(' ')}`);
  install(packages);
  const still = tools.filter(({ command }) => !onPath(command));
  if (still.length > 0) {
    console.error(`Still missing after the installation: ${still.map(({ command }) => command).join(', ')}`);
    process.exit(1);
  }
}
