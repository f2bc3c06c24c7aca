/** What must be installed before a host can be opened, and which Debian package brings it. */
import { describeError, Fault } from '@backhaul/kernel';
import { runTool } from './tool.ts';

export interface RequiredTool {
  readonly command: string;
  readonly debianPackage: string;
  /** The oldest major version that has all we ask of it. */
  readonly majorMin: number;
}

/** 7: the first with block exports that stand alone, and with the copy-before-write filter in the storage daemon. */
export const storageTools: readonly RequiredTool[] = [
  { command: 'qemu-img', debianPackage: 'qemu-utils', majorMin: 7 },
  { command: 'qemu-storage-daemon', debianPackage: 'qemu-system-common', majorMin: 7 },
];

/** 7: the first with the copy-before-write filter and access to what it froze. The daemon serves disks of VMs to be. */
export const virtualMachineTools: readonly RequiredTool[] = [
  ...storageTools,
  { command: 'qemu-system-x86_64', debianPackage: 'qemu-system-x86', majorMin: 7 },
];

/** Throws one permanent Fault, code `ToolMissing`, that names everything missing at once. */
export async function requireTools(tools: readonly RequiredTool[]): Promise<void> {
  const lacks = (await Promise.all(tools.map(lackOf))).filter((lack) => lack !== undefined);
  if (lacks.length === 0) return;
  const packages = [...new Set(lacks.map((lack) => lack.debianPackage))].join(' ');
  throw new Fault(
    `${lacks.map((lack) => lack.problem).join('; ')}. On Debian: apt-get install --no-install-recommends ${packages}`,
    { code: 'ToolMissing', permanent: true },
  );
}

async function lackOf(tool: RequiredTool): Promise<{ problem: string; debianPackage: string } | undefined> {
  try {
    const { stdout } = await runTool(tool.command, ['--version'], { milliseconds: 10_000 });
    const version = /version (\d+)\.(\d+)/.exec(stdout);
    if (version !== null && Number(version[1]) >= tool.majorMin) return undefined;
    const found = version === null ? 'an unknown version' : `version ${version[1]}.${version[2]}`;
    return { ...tool, problem: `${tool.command} is ${found}, and ${tool.majorMin} or newer is needed` };
  } catch (error) {
    if (error instanceof Fault && error.code === 'ToolMissing') {
      return { ...tool, problem: `${tool.command} is not installed` };
    }
    return { ...tool, problem: `${tool.command} cannot be run (${describeError(error)})` };
  }
}
