/**
 * A system that is not Backhaul and wants something of it: a process of its own that knows NATS and the contracts, no more. The server's URL
 * is in NATS_URL. Arguments: `backup` or `recovery`, and the request as JSON. Prints the id of the run.
 */
import { requestBackup, requestRecovery } from '@backhaul/client';
import { describeError, refusalLine } from '@backhaul/kernel';

const { NATS_URL: natsUrl = '' } = process.env;
const [purpose = '', request = '{}'] = process.argv.slice(2);
try {
  const options = { natsUrl, requestedBy: 'the demo', ...JSON.parse(request) };
  const answer = purpose === 'recovery' ? await requestRecovery(options) : await requestBackup(options);
  const runId = answer.recoveryId ?? answer.backupId;
  if (runId === undefined || answer.outcome === 'refused') {
    throw new Error(answer.refusal === undefined ? 'refused' : refusalLine(answer.refusal));
  }
  process.stdout.write(runId);
} catch (error) {
  process.stderr.write(describeError(error));
  process.exitCode = 1;
}
