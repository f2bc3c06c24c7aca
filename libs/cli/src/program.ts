/**
 * The commands of `backhaul`, their arguments and their help. Those that need more than the client bring it with them when they are run:
 * who asks for a list need not wait until a database, a simulation and a repository are loaded.
 */
import { Priority } from '@backhaul/contracts';
import { Argument, Command, Option } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { collect, jsonOption, port, whole } from './arguments.ts';
import type { CommandContext } from './command.ts';
import { type BackupFlags, backup } from './commands/backup.ts';
import { setDeploymentPolicy, setHostPolicy, showHostPolicies } from './commands/host-policy.ts';
import { showList, showPolicies } from './commands/lists.ts';
import { addLog } from './commands/log-command.ts';
import type { MountFlags } from './commands/mount.ts';
import { showQueue } from './commands/queue.ts';
import { type RecoverFlags, recover } from './commands/recover.ts';
import { type RedriveFlags, redrive } from './commands/redrive.ts';
import { addReplay } from './commands/replay-command.ts';
import type { RestoreFlags } from './commands/restore.ts';
import { removeSchedule, type ScheduleFlags, setPolicy, setSchedule } from './commands/settings.ts';
import { addSimulation } from './commands/simulate-command.ts';
import { events, explain } from './commands/story.ts';
import type { UpFlags } from './commands/up.ts';
import type { VerifyFlags } from './commands/verify.ts';
import { type LocationFlags, locationsOf } from './locations.ts';
import { addOrders } from './order-commands.ts';
import type { Terminal } from './terminal.ts';

const EXIT_CODES = `
Exit codes: 0 done; 1 failed; 2 the command was not understood; 3 refused, with the reason.
Console, trigger and repository are found by flag, by environment (BACKHAUL_CONSOLE_URL, BACKHAUL_TRIGGER_URL,
BACKHAUL_REPOSITORY), or in the file that "backhaul up" writes (~/.backhaul/stack.json, or BACKHAUL_STACK_FILE). The token of
both services is found there, too, or in BACKHAUL_API_TOKEN.
The id of a backup or a recovery may be shortened to any beginning that no other has.`;

const runArgument = () => new Argument('<id>', 'the id of a backup or a recovery, or a beginning of it');
const modeOption = () =>
  new Option('--mode <mode>', 'how the data travels').choices(['auto', 'proxy-vm', 'direct-to-host']);
const priorityOption = () =>
  new Option('--priority <priority>', 'where it stands in lines, instead of where its policy says').choices(
    Priority.options,
  );

export function backhaulProgram(outside: {
  readonly terminal: Terminal;
  readonly environment: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}): Command {
  const program = new Command('backhaul');
  const context = (): CommandContext => ({
    ...outside,
    locations: locationsOf(program.opts<LocationFlags>(), outside.environment, outside.signal),
  });
  program
    .description('Backups and recoveries of virtual machines through a calculated number of proxies.')
    .version(manifest.version)
    .option('--console-url <url>', 'where the console answers')
    .option('--trigger-url <url>', 'where the trigger answers')
    .option('--repository <folder>', 'the repository')
    .option('--verbose', 'on a failure, show every cause')
    .addHelpText('after', EXIT_CODES)
    .showHelpAfterError('(backhaul --help tells more)')
    .exitOverride();

  program
    .command('up')
    .description('start everything on this machine, until Ctrl-C')
    .option(
      '--host <name=folder>',
      'a folder of disk images as a host, or with name=qemu:folder one of QMP sockets of running VMs; may be repeated',
      collect,
      [],
    )
    .option(
      '--proxy-network <name=bridge,addresses>',
      "where the ports of that host's proxy VMs are reached over TCP, such as lab=br-backup,10.20.0.10-10.20.0.59/24",
      collect,
      [],
    )
    .option('--directory <folder>', 'where the data of the services lives')
    .option('--postgres-url <url>', 'a PostgreSQL that exists, as its administrator')
    .option('--nats-url <url>', 'a NATS that exists')
    .action(async (flags: Omit<UpFlags, 'repository'>) => {
      const { up } = await import('./commands/up.ts');
      await up({ ...flags, ...program.opts<Pick<UpFlags, 'repository'>>() }, context());
    });

  program
    .command('backup')
    .description('ask for a backup of a VM')
    .argument('<vm>')
    .option('--host <host>', 'the host of the VM; not needed where there is one host')
    .option('--full', 'everything, whatever stands from before')
    .option('--incremental', 'what changed since the newest restore point')
    .addOption(modeOption())
    .option('--policy <policy>', 'a policy other than "default"')
    .addOption(priorityOption())
    .option('--request-id <id>', 'the same id again is the same backup')
    .option('--wait', 'show the backup until its end, and exit by its outcome')
    .addOption(jsonOption())
    .action((vm: string, flags: BackupFlags) => backup(vm, flags, context()));

  program
    .command('restore')
    .description(
      'write the disks of a backup to raw files, straight from the repository; without one, list what is there',
    )
    .argument('[backup]', 'a backup id, a beginning of it, or a VM for its newest')
    .option('--to <path>', 'a file for one disk, or a folder')
    .option('--disk <disk>', 'one disk only')
    .option('--overwrite', 'replace files that exist')
    .addOption(jsonOption())
    .action(async (id: string | undefined, flags: RestoreFlags) => {
      const { restore } = await import('./commands/restore.ts');
      await restore(id, flags, context());
    });

  addRecovery(program, context);
  addOrders(program, context);

  program
    .command('mount')
    .description('serve the disks of a backup over NBD, straight from the repository, until Ctrl-C')
    .argument('<backup>', 'a backup id, a beginning of it, or a VM for its newest')
    .option('--disk <disk>', 'one disk only')
    .option('--socket <path>', 'a Unix socket to serve at; without it and --port, one in a folder of its own')
    .option('--port <n>', 'a TCP port to serve at; 0 takes any that is free', port)
    .option('--address <address>', 'the address of that port (default: 127.0.0.1)')
    .option('--writable', 'take writes, over the backup, which stays as it is')
    .option('--keep <path>', 'at the end, keep the written disk as a raw file (or a folder of them)')
    .option('--cache <size>', 'memory for unpacked data (default: 256MiB)')
    .addOption(jsonOption())
    .action(async (id: string, flags: MountFlags) => {
      const { mount } = await import('./commands/mount.ts');
      await mount(id, flags, context());
    });

  program
    .command('backups')
    .description('list backups, newest first')
    .option('--host <host>')
    .option('--vm <vm>')
    .option('--state <states>', 'such as completed, or failed,refused')
    .option('--limit <n>', 'at most so many', whole, 50)
    .addOption(jsonOption())
    .action(({ host, vm, state, ...flags }) => showList('backups', { host, vm, state }, flags, context()));

  program
    .command('vms')
    .description('list VMs with their newest restore points')
    .option('--host <host>')
    .addOption(jsonOption())
    .action(({ host, ...flags }) => showList('vms', { host }, flags, context()));

  program
    .command('hosts')
    .description('list hosts, what their proxies have cost, and what was found there that no event had said')
    .addOption(jsonOption())
    .action((flags) => showList('hosts', {}, flags, context()));

  program
    .command('proxies')
    .description('list proxies with their ports and who holds them, how they are, and what each has cost')
    .option('--host <host>')
    .option('--all', 'also those that are gone')
    .addOption(jsonOption())
    .action(({ host, all, ...flags }) =>
      showList(
        'proxies',
        { host, state: all === true ? undefined : 'requested,active,idle,draining,lost' },
        flags,
        context(),
      ),
    );

  program
    .command('obligations')
    .description('list what was taken from hosts and not given back yet')
    .option('--host <host>')
    .addOption(jsonOption())
    .action(({ host, ...flags }) => showList('obligations', { host }, flags, context()));

  program
    .command('queue')
    .description('who waits, what for, and when it would start')
    .option('--host <host>')
    .addOption(jsonOption())
    .action((flags) => showQueue(flags, context()));

  program
    .command('explain')
    .description('why this mode, this quantity and these proxies, and what went otherwise than planned')
    .addArgument(runArgument())
    .addOption(jsonOption())
    .action((id: string, flags: { json?: boolean }) => explain(id, flags, context()));

  program
    .command('events')
    .description('the whole story of a backup or a recovery in order, from the log')
    .addArgument(runArgument())
    .option('--chunks', 'every chunk on a line of its own')
    .addOption(jsonOption())
    .action((id: string, flags: { json?: boolean; chunks?: boolean }) => events(id, flags, context()));

  program
    .command('verify')
    .description('whether every restore point of the repository can be restored')
    .argument('[backups...]', 'only these; default all')
    .option('--deep', 'read and hash every chunk')
    .addOption(jsonOption())
    .action(async (ids: string[], flags: VerifyFlags) => {
      const { verify } = await import('./commands/verify.ts');
      await verify(ids, flags, context());
    });

  addSettings(program, context);
  addLog(program, context);
  addReplay(program, context);
  addSimulation(program, context);
  return program;
}

function addRecovery(program: Command, context: () => CommandContext): void {
  program
    .command('recover')
    .description('have a VM made of a backup, on a host, through proxies')
    .argument('<backup>', 'a backup id, a beginning of it, or a VM for its newest')
    .option('--host <host>', 'where the VM will be; not needed where there is one host')
    .option('--name <vm>', 'what it will be called (default: as it was)')
    .option('--disk <disk>', 'only this disk; may be repeated', collect)
    .addOption(modeOption())
    .option('--policy <policy>', 'a policy other than "default"')
    .addOption(priorityOption())
    .option('--replace', 'over the VM of that name, which must be off')
    .option('--start', 'start it when it is whole')
    .option('--instant', 'start it at once from the restore point, and fill its disks while it runs')
    .option('--fill-speed <bytes>', 'with --instant: fill no faster than this a second, such as 100MiB')
    .option('--verify', 'read back and compare all that was written, instead of a sample')
    .option('--memory <MiB>', 'memory of the machine, where the host defines machines', whole)
    .option('--cpus <n>', 'processors of the machine, likewise', whole)
    .option('--request-id <id>', 'the same id again is the same recovery')
    .option('--wait', 'show the recovery until its end, and exit by its outcome')
    .addOption(jsonOption())
    .action((id: string, flags: RecoverFlags) => recover(id, flags, context()));

  program
    .command('recoveries')
    .description('list recoveries, newest first')
    .option('--host <host>')
    .option('--vm <vm>')
    .option('--state <states>', 'such as exporting, or failed,refused')
    .option('--limit <n>', 'at most so many', whole, 50)
    .addOption(jsonOption())
    .action(({ host, vm, state, ...flags }) => showList('recoveries', { host, vm, state }, flags, context()));
}

function addSettings(program: Command, context: () => CommandContext): void {
  const schedule = program.command('schedule').description('backups that come due by themselves');
  schedule
    .command('set')
    .argument('<schedule>')
    .requiredOption('--cron <expression>', 'five or six fields, such as "0 1 * * *"')
    .requiredOption('--host <host>')
    .requiredOption('--vm <vm>')
    .option('--time-zone <zone>', 'default UTC')
    .option('--full', 'a full every time')
    .option('--policy <policy>')
    .addOption(priorityOption())
    .action((id: string, flags: ScheduleFlags) => setSchedule(id, flags, context()));
  schedule
    .command('remove')
    .argument('<schedule>')
    .action((id: string) => removeSchedule(id, context()));
  schedule
    .command('list')
    .addOption(jsonOption())
    .action((flags) => showList('schedules', {}, flags, context()));

  const policy = program.command('policy').description('limits and thresholds that plans obey');
  policy
    .command('set')
    .description('what is not named keeps its value')
    .argument('<policy>')
    .argument('<field=value...>', 'such as maxProxiesPerHost=2 childJobBytes=4GiB mode=proxy-vm')
    .action((id: string, settings: string[]) => setPolicy(id, settings, context()));
  policy
    .command('list')
    .addOption(jsonOption())
    .action((flags) => showPolicies(flags, context()));

  const hostPolicy = program
    .command('host-policy')
    .description('what a host may carry, whatever the runs ask for');
  hostPolicy
    .command('set')
    .description('what is not named keeps its value')
    .argument('<host>')
    .argument('<field=value...>', 'such as maxOpenSnapshots=4 bytesPerSecond=100MiB maxRuns=none')
    .action((host: string, settings: string[]) => setHostPolicy(host, settings, context()));
  hostPolicy
    .command('list')
    .addOption(jsonOption())
    .action((flags) => showHostPolicies(flags, context()));
  program
    .command('deployment-policy')
    .description('what all hosts may come to together')
    .command('set')
    .argument('<field=value...>', 'such as bytesPerSecond=1GiB, or bytesPerSecond=none')
    .action((settings: string[]) => setDeploymentPolicy(settings, context()));

  program
    .command('dead-letters')
    .description('list messages that can never work, and why')
    .addArgument(new Argument('[list]').choices(['list']))
    .option('--all', 'also those that were sent again')
    .addOption(jsonOption())
    .action((_, { all, ...flags }) =>
      showList('dead-letters', { state: all === true ? undefined : 'open' }, flags, context()),
    );

  program
    .command('redrive')
    .description('have a dead letter sent again, once, to the service that gave it up')
    .argument('<letter>', 'its number in the list of dead letters')
    .option('--reason <text>', 'what has been mended; it is kept with the redrive')
    .option('--request-id <id>', 'the same id again is the same redrive')
    .addOption(jsonOption())
    .action((letter: string, flags: RedriveFlags) => redrive(letter, flags, context()));
}
