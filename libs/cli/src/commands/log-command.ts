/** The commands `backhaul log` and `backhaul database`, their options and their help. */
import type { Command } from 'commander';
import { jsonOption, postgresOption, readNoted } from '../arguments.ts';
import type { CommandContext } from '../command.ts';
import type { SealFlags, VerifyLogFlags } from './log.ts';

export function addLog(program: Command, context: () => CommandContext): void {
  program
    .command('database')
    .description('the database of a deployment')
    .command('prepare')
    .description(
      'bring it to the schema of this release, with a role per service; before the first start, and at each release',
    )
    .requiredOption('--admin-url <url>', 'the database, as somebody who may create roles')
    .addHelpText(
      'after',
      '\nPasswords of the roles: BACKHAUL_ROLE_PASSWORD, or one each in BACKHAUL_ROLE_PASSWORD_<SERVICE>.',
    )
    .action(async (flags: { adminUrl: string }) => {
      const { prepareDatabase } = await import('./prepare-database.ts');
      await prepareDatabase(flags, context());
    });

  const log = program.command('log').description('the log as evidence');
  log
    .command('seal')
    .description('close what the log has by now into signed seals (the console does so all the time)')
    .option('--key <file>', 'the key to sign with; made where there is none')
    .addOption(postgresOption())
    .addOption(jsonOption())
    .action(async (flags: SealFlags) => {
      const { seal } = await import('./log.ts');
      await seal(flags, context());
    });
  log
    .command('verify')
    .description(
      'prove that nothing sealed was changed, dropped, put in or reordered; exit 1 names the first difference',
    )
    .option('--public-key <key>', 'the key that the seals must be signed with (or BACKHAUL_SEAL_PUBLIC_KEY)')
    .option('--noted <seal:hash>', 'a seal that was noted down elsewhere and must still be there', readNoted)
    .addOption(postgresOption())
    .addOption(jsonOption())
    .action(async (flags: VerifyLogFlags) => {
      const { verifySealed } = await import('./log.ts');
      await verifySealed(flags, context());
    });
}
