/**
 * From a URI to a client: the socket, then the handshake, within one time-out. What is half open when it fails is closed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Fault, hasCode, withDeadline } from '@backhaul/kernel';
import type { NbdClient, NbdConnectOptions } from './client.ts';
import { Connection } from './connection.ts';
import { ExportClient } from './export-client.ts';
import { VIOLATION, violation } from './protocol/faults.ts';
import { type Agreement, handshake, type Wishes } from './protocol/handshake.ts';
import { Feed } from './protocol/machine.ts';
import { endpointLine, parseUri } from './protocol/uri.ts';
import { Wire } from './wire.ts';

const CONNECT_MILLISECONDS = 10_000;
const REQUEST_MILLISECONDS = 30_000;
const REQUEST_BYTES = 512 * 1024;
const WINDOW = { requests: 16, bytes: 8 * 1024 * 1024 };

/** Long enough for a proxy VM to see that a client has gone, and to start a fresh server. */
const GARBLED_PAUSE_MILLISECONDS = 200;

/** Throws a Fault that names export and endpoint: no server, no such export, not NBD, or not in time. */
export async function connectNbd(options: NbdConnectOptions): Promise<NbdClient> {
  const end = performance.now() + (options.garbledMilliseconds ?? 0);
  for (;;) {
    try {
      return await connectOnce(options);
    } catch (error) {
      if (!hasCode(error, VIOLATION) || performance.now() >= end) throw error;
      await delay(GARBLED_PAUSE_MILLISECONDS, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}

async function connectOnce(options: NbdConnectOptions): Promise<NbdClient> {
  const { endpoint, exportName } = parseUri(options.uri);
  const name = `export ${JSON.stringify(exportName)} at ${endpointLine(endpoint)}`;
  const wishes = { exportName, contexts: options.contexts ?? [] };
  const { signal } = options;

  let opened: { wire: Wire; agreement: Agreement };
  try {
    opened = await withDeadline(
      'The handshake',
      options.connectMilliseconds ?? CONNECT_MILLISECONDS,
      async (deadline) => {
        const stop = signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
        const wire = await Wire.open(endpoint, stop);
        return { wire, agreement: await shakeHands(wire, wishes, stop) };
      },
    );
  } catch (cause) {
    throw new Fault(`Connecting to ${name} failed`, { cause, ...codeOf(cause) });
  }

  const { wire, agreement } = opened;
  const connection = new Connection(wire, name, {
    structured: agreement.structuredReplies,
    window: {
      requests: options.windowRequests ?? WINDOW.requests,
      bytes: options.windowBytes ?? WINDOW.bytes,
    },
    requestMilliseconds: options.requestMilliseconds ?? REQUEST_MILLISECONDS,
  });
  const abort = (): void => connection.fail(aborted(signal));
  signal?.addEventListener('abort', abort, { once: true });
  // A signal that was aborted before tells nobody any more.
  if (signal?.aborted === true) abort();
  return new ExportClient(
    { uri: options.uri, exportName, contexts: wishes.contexts },
    agreement,
    connection,
    options.requestBytes ?? REQUEST_BYTES,
    () => signal?.removeEventListener('abort', abort),
  );
}

/** Runs the handshake over the wire; whatever goes wrong closes the wire, after a last word to the server. */
async function shakeHands(wire: Wire, wishes: Wishes, stop: AbortSignal): Promise<Agreement> {
  const abort = (): void => wire.destroy();
  stop.addEventListener('abort', abort, { once: true });
  if (stop.aborted) abort();
  try {
    return await new Promise<Agreement>((resolve, reject) => {
      const feed = new Feed(handshake(wishes), ({ send }) => wire.write(send));
      wire.listen({
        bytes(bytes) {
          try {
            const taken = feed.accept(bytes);
            if (feed.result === undefined) return;
            if (taken < bytes.length) throw violation('it went on talking after the handshake, unasked');
            resolve(feed.result.value);
          } catch (error) {
            reject(error);
          }
        },
        drained() {},
        closed(cause) {
          if (stop.aborted) reject(stop.reason);
          else
            reject(new Fault('The server hung up during the handshake', { cause, code: 'ConnectionLost' }));
        },
      });
      feed.start();
    });
  } catch (error) {
    wire.destroySoon();
    throw error;
  } finally {
    stop.removeEventListener('abort', abort);
  }
}

const aborted = (signal: AbortSignal | undefined): Fault =>
  new Fault('The connection was aborted', { cause: signal?.reason, code: 'Aborted' });

/** A fault keeps the code of what caused it, so that callers need not dig. */
function codeOf(cause: unknown): { code?: string } {
  for (let current = cause; current instanceof Error; current = current.cause) {
    const code = 'code' in current ? current.code : undefined;
    if (typeof code === 'string') return { code };
  }
  return {};
}
