/** The QMP client against a real monitor, and against peers that lie, stall and die. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@backhaul/kernel';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { QmpClient, withQmp } from './qmp.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('a QMP client at a storage daemon', () => {
  let path: string;
  let stop: () => Promise<void>;
  beforeEach(async () => {
    path = join(folder, 'qmp');
    const chardev = `socket,id=qmp,path=${path},server=on,wait=off`;
    const daemon = spawn('qemu-storage-daemon', ['--chardev', chardev, '--monitor', 'chardev=qmp'], {
      stdio: 'ignore',
    });
    const ended = once(daemon, 'exit');
    stop = async () => {
      daemon.kill('SIGKILL');
      await ended;
    };
    await eventually('The monitor', 30_000, () => connect().then(closed, () => undefined));
  });
  afterEach(async () => {
    await stop?.();
  });
  const connect = (more: object = {}) => QmpClient.connect({ path, target: 'the test daemon', ...more });
  const closed = (qmp: QmpClient) => {
    qmp.close();
    return true;
  };
  const node = { driver: 'null-co', 'node-name': 'n0', size: 4096 };

  test('negotiates and knows the version', async () => {
    const qmp = await connect();
    expect(qmp.version).toMatch(/^\d+\.\d+\.\d+$/);
    qmp.close();
  });

  test('gets each reply for its own command, however many are under way', async () => {
    await withQmp({ path, target: 'the test daemon' }, async (qmp) => {
      const reply = z.array(z.object({ name: z.string() }));
      const [commands, exports] = await Promise.all([
        qmp.execute('query-commands', { reply }),
        qmp.execute('query-block-exports'),
        qmp.execute('blockdev-add', { arguments: node }),
      ]);
      expect(commands.some((command) => command.name === 'blockdev-add')).toBe(true);
      expect(exports).toEqual([]);
    });
  });

  test('tells what failed, at whom, and in whose words', async () => {
    await withQmp({ path, target: 'the test daemon' }, async (qmp) => {
      await expect(
        qmp.execute('blockdev-del', { arguments: { 'node-name': 'nobody' } }),
      ).rejects.toMatchObject({
        message: expect.stringMatching(/blockdev-del to the test daemon failed: .*nobody/),
        code: 'GenericError',
      });
      await expect(qmp.execute('no-such-command')).rejects.toMatchObject({ code: 'CommandNotFound' });
      await expect(qmp.execute('query-commands', { reply: z.string() })).rejects.toMatchObject({
        permanent: true,
        code: 'QmpReplyUnknown',
      });
    });
  });

  test('does not miss the event that a command brings about, and takes no other for it', async () => {
    await withQmp({ path, target: 'the test daemon' }, async (qmp) => {
      const addr = { type: 'unix', data: { path: join(folder, 'nbd') } };
      await qmp.execute('nbd-server-start', { arguments: { addr } });
      await qmp.execute('blockdev-add', { arguments: node });
      const add = (id: string) =>
        qmp.execute('block-export-add', { arguments: { type: 'nbd', id, 'node-name': 'n0', name: id } });
      await Promise.all([add('one'), add('other')]);
      const other = qmp.waitForEvent('BLOCK_EXPORT_DELETED', (data) => data.id === 'other', 300);
      const event = await qmp.executeUntil('block-export-del', {
        arguments: { id: 'one' },
        event: 'BLOCK_EXPORT_DELETED',
        matches: (data) => data.id === 'one',
        eventMilliseconds: 10_000,
      });
      expect(event.data).toEqual({ id: 'one' });
      await expect(other).rejects.toThrow(/BLOCK_EXPORT_DELETED within 300 ms/);
    });
  });

  test('fails what waits when the daemon is killed, and everything after', async () => {
    const qmp = await connect();
    const event = expect(qmp.waitForEvent('SHUTDOWN', () => true, 60_000)).rejects.toMatchObject({
      code: 'QmpDisconnected',
      message: expect.stringContaining('the test daemon'),
    });
    await stop();
    await event;
    await expect(qmp.execute('query-version')).rejects.toMatchObject({ code: 'QmpDisconnected' });
  });

  test('waits for its turn at a monitor that another client holds, but not for ever', async () => {
    const first = await connect();
    await expect(connect({ connectMilliseconds: 200 })).rejects.toMatchObject({ code: 'QmpUnreachable' });
    const second = connect();
    first.close();
    (await second).close();
  });
});

describe('a QMP client at a peer that is not right', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.close();
  });
  const GREETING = '{"QMP": {"version": {"qemu": {"major": 9, "minor": 0, "micro": 1}, "package": ""}}}\r\n';

  /** Serves one client: the greeting, then an answer to every line. */
  const peer = async (greeting: string, answer: (socket: Socket, id: number) => void) => {
    const path = join(folder, 'peer');
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write(greeting);
      socket.on('data', (lines) => {
        for (const line of String(lines).trim().split('\n')) answer(socket, JSON.parse(line).id);
      });
    });
    await new Promise<void>((resolve) => server?.listen(path, resolve));
    return { path, target: 'the peer', connectMilliseconds: 300, commandMilliseconds: 300 };
  };
  const obliging = (socket: Socket, id: number) => socket.write(`{"return": {}, "id": ${id}}\n`);

  test('gives up on one that is not there, or never greets, or greets in another tongue', async () => {
    const nowhere = { path: join(folder, 'nowhere'), target: 'nobody' };
    await expect(QmpClient.connect(nowhere)).rejects.toThrow(/nobody cannot be reached by QMP at .*nowhere/);
    await expect(QmpClient.connect(await peer('', obliging))).rejects.toMatchObject({
      code: 'QmpUnreachable',
    });
    server?.close();
    await expect(QmpClient.connect(await peer('SSH-2.0\n', obliging))).rejects.toMatchObject({
      code: 'QmpUnreachable',
    });
  });

  test('gives up on a command that is never answered, and still hears the next', async () => {
    let heard = 0;
    const options = await peer(GREETING, (socket, id) => {
      heard += 1;
      if (heard !== 2) obliging(socket, id);
    });
    await withQmp(options, async (qmp) => {
      await expect(qmp.execute('stall')).rejects.toThrow(
        /the peer did not send the reply to stall within 300 ms/,
      );
      expect(await qmp.execute('go-on')).toEqual({});
    });
  });

  test('puts together what comes in pieces, and takes apart what comes at once', async () => {
    const options = await peer(GREETING, (socket, id) => {
      const text = `{"event": "STOP", "timestamp": {}}\n{"return": {"n": ${id}}, "id": ${id}}\n`;
      for (const character of text) socket.write(character);
    });
    await withQmp(options, async (qmp) => {
      expect(await Promise.all([qmp.execute('a'), qmp.execute('b')])).toEqual([{ n: 2 }, { n: 3 }]);
    });
  });

  test.each(['not json\n', '{"neither": 1}\n', '{"error": {"class": "GenericError", "desc": "JSON"}}\n'])(
    'ends the connection at %j, because nothing can be trusted after it',
    async (line) => {
      let heard = 0;
      const options = await peer(GREETING, (socket, id) => {
        heard += 1;
        if (heard === 1) obliging(socket, id);
        else socket.write(line);
      });
      await withQmp(options, async (qmp) => {
        await expect(qmp.execute('ask')).rejects.toMatchObject({ code: 'QmpDisconnected' });
      });
    },
  );
});
