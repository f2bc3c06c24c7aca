/** The command `backhaul simulate`, its arguments and its help. */
import type { Command } from 'commander';
import { collect, whole } from '../arguments.ts';
import type { CommandContext } from '../command.ts';
import { type SimulateFlags, simulate } from './simulate.ts';

export function addSimulation(program: Command, context: () => CommandContext): void {
  program
    .command('simulate')
    .description('what policies would do with a described fleet, side by side, on a virtual clock')
    .argument('<fleet>', 'a YAML or JSON file: hosts, VMs, schedules and policies (docs/simulation.md)')
    .option('--policy <name>', 'only this one of its policies; may be repeated', collect)
    .option('--seed <n>', 'the same seed gives the same chance', whole, 1)
    .option('--hours <n>', 'for so long requests come due', whole, 24)
    .option('--html <file>', 'write the comparison with its charts to a page that stands alone')
    .option('--json <file>', 'write all that was found')
    .action((fleet: string, flags: SimulateFlags) => simulate(fleet, flags, context()));
}
