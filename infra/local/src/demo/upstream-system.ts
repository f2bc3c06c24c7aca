/** A system that is not Backhaul and wants a backup: a process of its own that knows NATS and the contracts, no more. */
import { requestBackup } from '@backhaul/client';
import { describeError, refusalLine } from '@backhaul/kernel';

const [natsUrl = '', host = '', vm = '', policy = ''] = process.argv.slice(2);
try {
  const answer = await requestBackup({ natsUrl, host, vm, policy, requestedBy: 'the demo' });
  if (answer.backupId === undefined || answer.outcome === 'refused') {
    throw new Error(answer.refusal === undefined ? 'refused' : refusalLine(answer.refusal));
  }
  process.stdout.write(answer.backupId);
} catch (error) {
  process.stderr.write(describeError(error));
  process.exitCode = 1;
}
