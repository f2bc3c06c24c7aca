/**
 * Whether what is started here ends with the service that started it. Proxies, servers of snapshots and VMs are to outlive it; but whoever
 * manages services may end all that is in the control group of one with it, and a container ends with its first process.
 */
import { readFile } from 'node:fs/promises';
import { describeError } from '@backhaul/kernel';
import { runTool } from './tool.ts';

const ASK_MILLISECONDS = 5_000;

export interface ServiceUnit {
  readonly name: string;
  /** Whose systemd it is a unit of. */
  readonly of: 'system' | 'user';
}

/** What of `/proc/<pid>/cgroup` names a service of systemd; undefined where a login, a container or nobody holds the process. */
export function serviceUnitIn(cgroups: string): ServiceUnit | undefined {
  for (const line of cgroups.trim().split('\n')) {
    // cgroups(7): number, controllers, path. Systemd's own hierarchy is the unified one, or the one that bears its name.
    const [, controllers, path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers !== '' && controllers !== 'name=systemd') continue;
    const units = path.split('/').filter((part) => /\.(service|scope)$/.test(part));
    const name = units.at(-1);
    if (name === undefined || name.endsWith('.scope')) continue;
    return { name, of: /^user@\d+\.service$/.test(units.at(-2) ?? '') ? 'user' : 'system' };
  }
  return undefined;
}

/** Said of a unit, by how systemd kills it; undefined where it leaves alone what the main process started. */
export function whyUnitEndsAll({ name }: ServiceUnit, killMode: string): string | undefined {
  if (killMode === 'process' || killMode === 'none') return undefined;
  return `${name} has KillMode=${killMode}: when it is stopped or restarted, systemd ends all VMs, proxies and snapshots that it has started. Set KillMode=process (infra/systemd)`;
}

/** For a log, at the start; undefined: as far as can be told, what is started here outlives this process. */
export async function whyAllEndsWithUs(): Promise<string | undefined> {
  if (process.pid === 1)
    return 'This is the first process of its container: all VMs, proxies and snapshots that it starts end with it';
  const unit = serviceUnitIn(await readFile('/proc/self/cgroup', 'utf8').catch(() => ''));
  if (unit === undefined) return undefined;
  const args = [...(unit.of === 'user' ? ['--user'] : []), 'show', '-p', 'KillMode', '--value', unit.name];
  try {
    const { stdout } = await runTool('systemctl', args, { milliseconds: ASK_MILLISECONDS });
    return whyUnitEndsAll(unit, stdout.trim());
  } catch (error) {
    return `Whether ${unit.name} has KillMode=process cannot be told; without it, systemd ends all VMs, proxies and snapshots with it: ${describeError(error)}`;
  }
}
