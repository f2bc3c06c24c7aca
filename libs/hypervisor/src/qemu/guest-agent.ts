/**
 * The guest agent, as far as a freeze needs it (docs/interop/qemu-ga-ref of the QEMU project). It runs in the guest, so it may
 * be absent, hang or lie: every answer has a deadline, and nothing here is relied on.
 * The channel keeps no messages apart: whoever comes to it synchronises first, past what an earlier client left unanswered.
 */
import { createConnection, type Socket } from 'node:net';
import { Fault, KiB, withDeadline } from '@backhaul/kernel';
import { z } from 'zod';

const Reply = z.union([
  z.object({ return: z.unknown() }),
  z.object({ error: z.object({ desc: z.string() }) }),
]);
/** The agent's parser drops what it had begun to read when it sees this byte, and puts it before its answer to a sync. */
const SENTINEL = 0xff;
const REPLY_BYTES_MAX = 64 * KiB;

export class GuestAgent {
  readonly #socket: Socket;
  #said = Buffer.alloc(0);
  #heard: (() => void) | undefined;
  #ended: Fault | undefined;
  /** Commands whose answers have not come: the agent answers in order, and also what nobody waits for any more. */
  #unanswered = 0;

  private constructor(path: string) {
    this.#socket = createConnection({ path });
    this.#socket.on('data', (bytes: Buffer) => {
      this.#said = Buffer.concat([this.#said, bytes]);
      if (this.#said.length > REPLY_BYTES_MAX) this.#end('The guest agent says more than it was asked');
      this.#heard?.();
    });
    this.#socket.on('error', (cause) => this.#end('The guest agent cannot be reached', cause));
    this.#socket.on('close', () => this.#end('The guest agent has closed its channel'));
  }

  /** Connects and synchronises: from then on the agent is known to be there and to answer. */
  static async connect(path: string, milliseconds: number): Promise<GuestAgent> {
    const agent = new GuestAgent(path);
    try {
      await withDeadline('The answer of the guest agent', milliseconds, () => agent.#synchronise());
      return agent;
    } catch (error) {
      agent.close();
      throw error;
    }
  }

  /** Freezes all file systems that can be; resolves to their number. */
  async freeze(milliseconds: number): Promise<number> {
    return z.int().parse(await this.#ask('guest-fsfreeze-freeze', milliseconds));
  }

  async isFrozen(milliseconds: number): Promise<boolean> {
    return (await this.#ask('guest-fsfreeze-status', milliseconds)) === 'frozen';
  }

  /** Behind whatever the agent still does: a freeze that was given up included. */
  async thaw(milliseconds: number): Promise<void> {
    await this.#ask('guest-fsfreeze-thaw', milliseconds);
  }

  close(): void {
    this.#end('The channel was closed by us');
  }

  async #synchronise(): Promise<void> {
    const id = Math.floor(Math.random() * 2 ** 31);
    this.#socket.write(Buffer.from([SENTINEL]));
    this.#send('guest-sync-delimited', { id });
    for (;;) {
      await this.#until(() => this.#said.includes(SENTINEL));
      this.#said = this.#said.subarray(this.#said.lastIndexOf(SENTINEL) + 1);
      if (answerIn(await this.#line()) === id) return;
    }
  }

  async #ask(command: string, milliseconds: number): Promise<unknown> {
    return await withDeadline(`The guest agent's ${command}`, milliseconds, async () => {
      this.#send(command);
      this.#unanswered += 1;
      for (;;) {
        const line = await this.#line();
        this.#unanswered -= 1;
        if (this.#unanswered === 0) return answerIn(line);
      }
    });
  }

  #send(command: string, args?: Record<string, unknown>): void {
    if (this.#ended !== undefined) throw this.#ended;
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
  }

  async #line(): Promise<string> {
    await this.#until(() => this.#said.includes(0x0a));
    const end = this.#said.indexOf(0x0a);
    const line = this.#said.subarray(0, end).toString('utf8');
    this.#said = this.#said.subarray(end + 1);
    return line;
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#ended !== undefined) throw this.#ended;
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  #end(message: string, cause?: unknown): void {
    this.#ended ??= new Fault(message, { cause, code: 'GuestAgentGone' });
    this.#socket.destroy();
    this.#heard?.();
  }
}

function answerIn(line: string): unknown {
  const reply = Reply.parse(JSON.parse(line));
  if ('error' in reply) throw new Fault(`The guest agent refused: ${reply.error.desc}`);
  return reply.return;
}
