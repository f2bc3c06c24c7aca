/** `backhaul verify`: whether every restore point of a repository can be restored. */
import { formatBytes } from '@backhaul/kernel';
import { openRepository, verify as verifyRepository } from '@backhaul/repository';
import type { CommandContext } from '../command.ts';
import { failed } from '../exit.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { findManifest } from '../restore-points.ts';
import { json } from '../terminal.ts';

export interface VerifyFlags {
  readonly deep?: boolean;
  readonly json?: boolean;
}

export async function verify(
  ids: readonly string[],
  flags: VerifyFlags,
  { terminal, locations }: CommandContext,
): Promise<void> {
  const repository = await openRepository({ location: await locations.repository(), create: false });
  const bar = flags.json === true ? noBar : progressBar(terminal);
  try {
    const backupIds = [];
    for (const id of ids) backupIds.push((await findManifest(repository, id)).backupId);
    const report = await verifyRepository({
      repository,
      deep: flags.deep === true,
      ...(ids.length === 0 ? {} : { backupIds }),
      onProgress: ({ manifests, totalManifests }) =>
        bar.update({ done: manifests, total: totalManifests, phase: 'restore points looked at' }),
    });
    bar.stop();
    if (flags.json === true) terminal.out(json(report));
    else {
      for (const { kind, thing, reason, backupId, diskId, offset } of report.problems) {
        const where = [backupId, diskId, offset === undefined ? undefined : `offset ${offset}`].filter(
          (each) => each !== undefined,
        );
        terminal.out(`${kind} ${thing}: ${reason}${where.length === 0 ? '' : ` (${where.join(', ')})`}`);
      }
      if (report.moreProblems > 0) terminal.out(`... and ${report.moreProblems} more`);
      for (const { digest, foundAt, healedAt } of report.healed)
        terminal.out(
          `healed: chunk ${digest}, found damaged or missing at ${foundAt}, is whole since ${healedAt}`,
        );
    }
    const problems = report.problems.length + report.moreProblems;
    const chunkProblems = report.problems.some(({ kind }) => kind === 'chunk');
    const looked = `${report.manifests} restore points and ${report.chunks} chunks in ${repository.location}`;
    if (problems > 0) {
      throw failed(
        `${problems} problems among ${looked}. Restore points that do not need what is named are good.${chunkProblems ? ' The next backup of the VM stores damaged chunks anew where it still has their bytes.' : ''}`,
      );
    }
    if (flags.json !== true) {
      terminal.out(
        `${looked} are whole${flags.deep === true ? `: ${formatBytes(report.readBytes)} were read and hashed` : '; --deep reads and hashes every chunk, too'}.`,
      );
    }
  } finally {
    bar.stop();
    await repository.close();
  }
}
