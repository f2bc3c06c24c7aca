/** The command `backhaul replay`, its options and its help. */
import { type Command, Option } from 'commander';
import { jsonOption, postgresOption, whole } from '../arguments.ts';
import type { CommandContext } from '../command.ts';
import { showList } from './lists.ts';
import type { ReplayFlags } from './replay.ts';

export function addReplay(program: Command, context: () => CommandContext): void {
  program
    .command('replay')
    .description('plan and decide again, from the log alone, and say where that is not what is recorded')
    .option(
      '--check',
      'every plan and every decision of a pool (the default); exit 1 names the first difference',
    )
    .addOption(
      new Option('--export <file>', 'write the log to a file instead').conflicts(['check', 'shadow']),
    )
    .addOption(
      new Option(
        '--shadow <policy...>',
        'plan every run again under another policy: a YAML or JSON file, or fields such as maxProxiesPerHost=2; what is not named is as it was',
      ).conflicts('check'),
    )
    .option('--host <host>', 'with --shadow: runs of this host only')
    .option('--since <instant>', 'with --shadow: runs that were planned since')
    .option('--all', 'with --shadow: also runs that come to the same')
    .option('--from-file <file>', 'a log that was exported, packed where its name ends in .gz')
    .addOption(postgresOption())
    .addOption(jsonOption())
    .action(async (flags: ReplayFlags) => {
      const { replay } = await import('./replay.ts');
      await replay(flags, context());
    });

  program
    .command('shadow-plans')
    .description('list runs of which a shadow policy would have made something else, newest first')
    .option('--host <host>')
    .option('--vm <vm>')
    .option('--all', 'also those of which it would have made the same')
    .option('--limit <n>', 'at most so many', whole, 50)
    .addOption(jsonOption())
    .action(({ host, vm, all, ...flags }) =>
      showList('shadow-plans', { host, vm, state: all === true ? undefined : 'otherwise' }, flags, context()),
    );
}
