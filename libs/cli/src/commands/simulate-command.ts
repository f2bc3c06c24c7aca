/** The command `backhaul simulate`, its arguments and its help. */
import type { Command } from 'commander';
import { collect, whole } from '../arguments.ts';
import type { CommandContext } from '../command.ts';
import type { SimulateFlags } from './simulate.ts';

export function addSimulation(program: Command, context: () => CommandContext): void {
  program
    .command('simulate')
    .description('what other policies would do, or would have done, side by side, on a virtual clock')
    .argument(
      '[file]',
      'YAML or JSON: hosts, VMs, schedules and policies, or policies alone (docs/simulation.md)',
    )
    .option(
      '--history <log>',
      'what "replay --export" wrote: the backups that were, at hosts as fast as they were',
    )
    .option('--policy <name>', 'only this one of its policies; may be repeated', collect)
    .option('--seed <n>', 'the same seed gives the same chance', whole, 1)
    .option('--hours <n>', 'for so long requests come due (default: 24)', whole)
    .option('--html <file>', 'write the comparison with its charts to a page that stands alone')
    .option('--json <file>', 'write all that was found')
    .action(async (file: string | undefined, flags: SimulateFlags) => {
      const { simulate } = await import('./simulate.ts');
      await simulate(file, flags, context());
    });
}
