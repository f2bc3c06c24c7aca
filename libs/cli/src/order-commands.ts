/** The commands that order a backup or a recovery about, with their arguments and help. */
import type { Command } from 'commander';
import { jsonOption } from './arguments.ts';
import type { CommandContext } from './command.ts';
import { type OrderFlags, type OrderName, order } from './commands/orders.ts';

const DESCRIPTIONS: Record<OrderName, string> = {
  cancel: 'end a backup or a recovery, at whatever stage it is; everything that it took is given back',
  pause: 'let a backup or a recovery stand still: ports and proxies go to others, its point in time stays',
  resume: 'let a paused backup or recovery go on from where it stood',
};
const WAITS: Record<OrderName, string> = {
  cancel: 'until everything was given back',
  pause: 'until it holds no port and no proxy',
  resume: 'until it goes on',
};

export function addOrders(program: Command, context: () => CommandContext): void {
  for (const name of ['cancel', 'pause', 'resume'] as const) {
    program
      .command(name)
      .description(DESCRIPTIONS[name])
      .argument('<id>', 'the id of a backup or a recovery, or a beginning of it')
      .option('--reason <text>', 'why; it is kept with the order')
      .option('--request-id <id>', 'the same id again is the same order')
      .option('--wait', WAITS[name])
      .addOption(jsonOption())
      .action((id: string, flags: OrderFlags) => order(name, id, flags, context()));
  }
}
