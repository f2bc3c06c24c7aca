/**
 * Stands in for a guest agent at its channel, well-behaved or not: the real one would freeze the file systems of this machine.
 * It answers one command at a time, as the real one does, and drops what it had begun to read at a sentinel byte.
 */
import { createServer, type Socket } from 'node:net';

export interface AgentBehaviour {
  /** What happens before it answers; never settling means that it hangs. */
  readonly before?: (command: string) => Promise<void> | void;
  /** Commands that it refuses, with its words. */
  readonly refuses?: Readonly<Record<string, string>>;
}

export interface StandInAgent {
  readonly commands: readonly string[];
  isFrozen(): boolean;
  close(): Promise<void>;
}

const SENTINEL = 0xff;

export async function startAgent(path: string, behaviour: AgentBehaviour = {}): Promise<StandInAgent> {
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  let frozen = false;
  let turn: Promise<unknown> = Promise.resolve();

  const answer = async (socket: Socket, line: string): Promise<void> => {
    const { execute, arguments: args } = JSON.parse(line);
    commands.push(execute);
    await behaviour.before?.(execute);
    const refusal = behaviour.refuses?.[execute];
    if (refusal !== undefined) {
      socket.write(`${JSON.stringify({ error: { class: 'GenericError', desc: refusal } })}\n`);
      return;
    }
    if (execute === 'guest-fsfreeze-freeze') frozen = true;
    if (execute === 'guest-fsfreeze-thaw') frozen = false;
    const values: Record<string, unknown> = {
      'guest-sync-delimited': args?.id,
      'guest-fsfreeze-freeze': 2,
      'guest-fsfreeze-thaw': 2,
      'guest-fsfreeze-status': frozen ? 'frozen' : 'thawed',
    };
    if (execute === 'guest-sync-delimited') socket.write(Buffer.from([SENTINEL]));
    socket.write(`${JSON.stringify({ return: values[execute] })}\n`);
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    let said = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes: Buffer) => {
      said = Buffer.concat([said, bytes]);
      said = said.subarray(said.lastIndexOf(SENTINEL) + 1);
      for (let end = said.indexOf(0x0a); end >= 0; end = said.indexOf(0x0a)) {
        const line = said.subarray(0, end).toString();
        said = said.subarray(end + 1);
        turn = turn.then(() => answer(socket, line));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    commands,
    isFrozen: () => frozen,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
