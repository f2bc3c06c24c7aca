/**
 * A QMP client: how QEMU and its storage daemon are told what to do (docs/interop/qmp-spec of the QEMU project).
 * - Every command has an id and a time-out; replies are matched by id, because events come in between.
 * - An event is awaited from before its command is sent, so that it cannot be missed.
 * - Errors name the command and the target, and carry QEMU's own words; their code is QEMU's error class.
 * A monitor serves one client at a time, the next one waits: keep connections short, or keep one for good.
 */
import { createConnection, type Socket } from 'node:net';
import { Fault, MiB } from '@backhaul/kernel';
import { z } from 'zod';

export interface QmpOptions {
  /** Unix socket of the monitor. */
  readonly path: string;
  /** Whom we talk to, for people: "port 2 of proxy p1". */
  readonly target: string;
  /** For connecting, the greeting and the capabilities: as long as another client may hold the monitor. Default 10,000. */
  readonly connectMilliseconds?: number;
  /** For the reply to a command, where the command does not say otherwise. Default 30,000. */
  readonly commandMilliseconds?: number;
}

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpCommand<T> {
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** The part of the reply that is read. Without it the reply is not looked at. */
  readonly reply?: z.ZodType<T>;
  readonly milliseconds?: number;
}

const MESSAGE_BYTES_MAX = 16 * MiB;

const Greeting = z.object({
  QMP: z.object({
    version: z.object({ qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }) }),
  }),
});
const Message = z.union([
  z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).default({}) }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() }),
  z.object({ return: z.unknown(), id: z.number() }),
]);

const QUEUE_MILLISECONDS = 20;

function isQueueFull(fault: unknown): boolean {
  for (let current = fault; current instanceof Error; current = current.cause) {
    if ('code' in current && current.code === 'EAGAIN') return true;
  }
  return false;
}

interface Waiting {
  resolve(reply: unknown): void;
  reject(fault: Fault): void;
}

export class QmpClient {
  readonly target: string;
  #socket: Socket;
  #text = '';
  #nextId = 1;
  #ended: Fault | undefined;
  readonly #replies = new Map<number, Waiting & { command: string }>();
  readonly #eventWaits = new Set<Waiting & { matches(event: QmpEvent): boolean }>();
  readonly #commandMilliseconds: number;
  #greeted: Waiting | undefined;
  version = '';

  private constructor(socket: Socket, options: QmpOptions) {
    this.#socket = socket;
    this.target = options.target;
    this.#commandMilliseconds = options.commandMilliseconds ?? 30_000;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#received(text));
    socket.on('error', (cause) => this.#end(`The QMP connection to ${this.target} failed`, cause));
    socket.on('close', () => this.#end(`${this.target} closed the QMP connection`));
  }

  /**
   * Connects, reads the greeting and negotiates. Throws a Fault with code `QmpUnreachable` when that fails. The queue of a
   * monitor has room for one or two; whoever finds it full (EAGAIN of connect(2)) comes again until the time is up.
   */
  static async connect(options: QmpOptions): Promise<QmpClient> {
    const end = Date.now() + (options.connectMilliseconds ?? 10_000);
    for (;;) {
      try {
        return await QmpClient.#connectOnce(options, Math.max(1, end - Date.now()));
      } catch (fault) {
        if (!isQueueFull(fault) || Date.now() >= end) throw fault;
      }
      await new Promise((resolve) => setTimeout(resolve, QUEUE_MILLISECONDS));
    }
  }

  static async #connectOnce(options: QmpOptions, milliseconds: number): Promise<QmpClient> {
    const client = new QmpClient(createConnection({ path: options.path }), options);
    const greeting = new Promise<unknown>((resolve, reject) => {
      client.#greeted = { resolve, reject };
    });
    try {
      const found = Greeting.parse(await client.#within('its greeting', milliseconds, greeting));
      const { major, minor, micro } = found.QMP.version.qemu;
      client.version = `${major}.${minor}.${micro}`;
      await client.execute('qmp_capabilities', { milliseconds });
      return client;
    } catch (cause) {
      client.close();
      throw new Fault(`${options.target} cannot be reached by QMP at ${options.path}`, {
        cause,
        code: 'QmpUnreachable',
      });
    }
  }

  async execute<T = unknown>(command: string, options: QmpCommand<T> = {}): Promise<T> {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#nextId++;
    const reply = new Promise<unknown>((resolve, reject) => {
      this.#replies.set(id, { command, resolve, reject });
    });
    const request = { execute: command, arguments: options.arguments, id };
    this.#socket.write(`${JSON.stringify(request)}\n`);
    try {
      const value = await this.#within(
        `the reply to ${command}`,
        options.milliseconds ?? this.#commandMilliseconds,
        reply,
      );
      if (options.reply === undefined) return value as T;
      const checked = options.reply.safeParse(value);
      if (checked.success) return checked.data;
      throw new Fault(
        `The reply of ${this.target} to QMP command ${command} does not fit: ${z.prettifyError(checked.error)}`,
        { permanent: true, code: 'QmpReplyUnknown' },
      );
    } finally {
      this.#replies.delete(id);
    }
  }

  /** The next event of this name for which `matches` holds. Ask before sending what brings it about. */
  async waitForEvent(
    name: string,
    matches: (data: QmpEvent['data']) => boolean,
    milliseconds: number,
  ): Promise<QmpEvent> {
    if (this.#ended !== undefined) throw this.#ended;
    let waiting: (Waiting & { matches(event: QmpEvent): boolean }) | undefined;
    const event = new Promise<unknown>((resolve, reject) => {
      waiting = { resolve, reject, matches: (heard) => heard.event === name && matches(heard.data) };
      this.#eventWaits.add(waiting);
    });
    try {
      return (await this.#within(`the event ${name}`, milliseconds, event)) as QmpEvent;
    } finally {
      if (waiting !== undefined) this.#eventWaits.delete(waiting);
    }
  }

  /** Sends a command whose work is done only when an event says so, and waits for both. */
  async executeUntil(
    command: string,
    options: QmpCommand<unknown> & {
      event: string;
      matches: (data: QmpEvent['data']) => boolean;
      eventMilliseconds: number;
    },
  ): Promise<QmpEvent> {
    const event = this.waitForEvent(options.event, options.matches, options.eventMilliseconds);
    // Its failure is heard below, or does not matter because the command itself failed.
    event.catch(() => undefined);
    await this.execute(command, options);
    return await event;
  }

  /** Safe to call twice. What still waits fails. */
  close(): void {
    this.#end(`The QMP connection to ${this.target} was closed by us`);
  }

  async #within<T>(what: string, milliseconds: number, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(
          new Fault(`${this.target} did not send ${what} within ${milliseconds} ms`, { code: 'TimedOut' }),
        );
      }, milliseconds);
    });
    try {
      return await Promise.race([work, timeUp]);
    } finally {
      clearTimeout(timer);
    }
  }

  #received(text: string): void {
    this.#text += text;
    if (this.#text.length > MESSAGE_BYTES_MAX) {
      this.#end(`${this.target} sent a QMP message of more than ${MESSAGE_BYTES_MAX} bytes`);
      return;
    }
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() !== '') this.#heard(line);
    }
  }

  #heard(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch (cause) {
      this.#end(`${this.target} sent a QMP message that is not JSON: ${line.slice(0, 200)}`, cause);
      return;
    }
    if (this.#greeted !== undefined) {
      this.#greeted.resolve(message);
      this.#greeted = undefined;
      return;
    }
    const known = Message.safeParse(message);
    if (!known.success) {
      this.#end(`${this.target} sent a QMP message of an unknown kind: ${line.slice(0, 200)}`);
    } else if ('event' in known.data) {
      for (const wait of this.#eventWaits) if (wait.matches(known.data)) wait.resolve(known.data);
    } else if ('error' in known.data) {
      this.#refused(known.data.error, known.data.id);
    } else {
      this.#replies.get(known.data.id)?.resolve(known.data.return);
    }
  }

  /** An error without an id is about a line that QEMU could not read as a command: nothing sent here can be trusted now. */
  #refused(error: { class: string; desc: string }, id: number | undefined): void {
    if (id === undefined) {
      this.#end(`${this.target} could not read a QMP command: ${error.desc}`);
      return;
    }
    const waiting = this.#replies.get(id);
    waiting?.reject(
      new Fault(`QMP command ${waiting.command} to ${this.target} failed: ${error.desc}`, {
        code: error.class,
      }),
    );
  }

  #end(message: string, cause?: unknown): void {
    if (this.#ended === undefined) this.#ended = new Fault(message, { cause, code: 'QmpDisconnected' });
    this.#socket.destroy();
    for (const waiting of [...this.#replies.values(), ...this.#eventWaits]) waiting.reject(this.#ended);
    this.#greeted?.reject(this.#ended);
    this.#greeted = undefined;
  }
}

/** For the length of `work` alone: another client of the same monitor waits no longer than that. */
export async function withQmp<T>(options: QmpOptions, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
  const qmp = await QmpClient.connect(options);
  try {
    return await work(qmp);
  } finally {
    qmp.close();
  }
}
