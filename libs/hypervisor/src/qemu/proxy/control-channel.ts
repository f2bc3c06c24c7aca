/**
 * What the appliance says over its control channel: JSON lines, each a whole report (infra/appliance/guest/control.lua).
 * The channel serves one client at a time, so conversations are short. A question carries a word that its answer repeats:
 * what was meant for the client before is never taken for ours.
 */
import { randomUUID } from 'node:crypto';
import { createConnection } from 'node:net';
import { Fault, KiB } from '@backhaul/kernel';
import { z } from 'zod';

const Report = z.object({
  answering: z.string().optional(),
  uptimeSeconds: z.number(),
  memoryTotalBytes: z.number(),
  memoryAvailableBytes: z.number(),
  load: z.number(),
  disks: z.array(z.object({ serial: z.string(), bytes: z.number(), readOnly: z.boolean() })),
  ports: z.array(z.object({ port: z.int(), state: z.string(), sessions: z.int() })),
  errors: z.array(z.string()),
  /** Absent in what an appliance of an earlier build says. */
  crashesInMinute: z.int().default(0),
});
export type Report = z.infer<typeof Report>;

/** Asked again this often: a question that was asked while the guest was still starting may have been lost. */
const ASK_AGAIN_MILLISECONDS = 1000;
const LINE_BYTES_MAX = 256 * KiB;

export interface ControlOptions {
  readonly path: string;
  /** For people: "proxy p1". */
  readonly target: string;
  readonly milliseconds: number;
  /** Asked again this often. Default 1,000. */
  readonly askAgainMilliseconds?: number;
  /** Ends the server of this port, if one runs. */
  readonly endServerOfPort?: number;
}

/**
 * The first report, of those sent after we asked, for which `found` holds. Throws a Fault with code `TimedOut` when none
 * comes in time, saying whether the guest answered at all; `ControlLost` when the channel closes.
 */
export async function askAppliance(
  options: ControlOptions,
  what: string,
  found: (report: Report) => boolean,
): Promise<Report> {
  const word = randomUUID();
  const question = {
    ask: word,
    ...(options.endServerOfPort === undefined ? {} : { end: options.endServerOfPort }),
  };
  const socket = createConnection({ path: options.path });
  socket.setEncoding('utf8');
  let again: NodeJS.Timeout | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Report>((resolve, reject) => {
      let text = '';
      let heard = false;
      const ask = (asked: object) => socket.write(`\n${JSON.stringify(asked)}\n`);
      timer = setTimeout(() => {
        const instead = heard ? 'it answers, but that has not come about' : 'it does not answer';
        reject(
          new Fault(`${what} did not happen within ${options.milliseconds} ms: ${instead}`, {
            code: 'TimedOut',
          }),
        );
      }, options.milliseconds);
      socket.once('connect', () => {
        ask(question);
        // Only the question: what else was asked for is done once.
        again = setInterval(() => ask({ ask: word }), options.askAgainMilliseconds ?? ASK_AGAIN_MILLISECONDS);
      });
      socket.on('data', (part: string) => {
        text += part;
        const lines = text.split('\n');
        text = lines.pop() ?? '';
        if (text.length > LINE_BYTES_MAX) reject(new Fault(`${options.target} sent a line without an end`));
        for (const line of lines) {
          const report = readReport(line);
          heard ||= report?.answering === word;
          if (heard && report !== undefined && found(report)) resolve(report);
        }
      });
      const lost = (cause?: unknown) =>
        reject(new Fault(`The control channel of ${options.target} closed`, { cause, code: 'ControlLost' }));
      socket.once('error', lost);
      socket.once('close', () => lost());
    });
  } finally {
    clearTimeout(timer);
    clearInterval(again);
    socket.destroy();
  }
}

/** Undefined for a line that is not a report: the end of one that somebody else was sent. */
function readReport(line: string): Report | undefined {
  try {
    return Report.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
