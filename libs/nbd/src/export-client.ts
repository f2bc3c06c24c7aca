/**
 * One export as callers use it: ranges in, requests out. Checks what is asked against what the server agreed to, before
 * anything is sent.
 */
import { Fault, invariant } from '@backhaul/kernel';
import type { NbdClient, StatusExtent } from './client.ts';
import type { Connection } from './connection.ts';
import {
  assertAligned,
  assertInside,
  effectPieces,
  type Grid,
  type Piece,
  readPieces,
  writePieces,
  writtenZeroPieces,
} from './pieces.ts';
import type { Agreement } from './protocol/handshake.ts';
import { requestLine } from './protocol/requests.ts';
import { StatusWalk } from './protocol/status-walk.ts';
import { PendingEffect, PendingStatus } from './protocol/transactions.ts';
import { COMMAND, COMMAND_FLAG } from './protocol/values.ts';

export class ExportClient implements NbdClient {
  readonly uri: string;
  readonly exportName: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canMultiConnect: boolean;
  readonly canFlush: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly blockSize: NbdClient['blockSize'];
  readonly contexts: readonly string[];
  readonly #agreement: Agreement;
  readonly #connection: Connection;
  readonly #grid: Grid;
  readonly #onClose: () => void;

  constructor(
    asked: { readonly uri: string; readonly exportName: string; readonly contexts: readonly string[] },
    agreement: Agreement,
    connection: Connection,
    requestBytes: number,
    onClose: () => void,
  ) {
    this.uri = asked.uri;
    this.exportName = asked.exportName;
    this.sizeBytes = agreement.sizeBytes;
    this.readOnly = agreement.readOnly;
    this.canMultiConnect = agreement.canMultiConnect;
    this.canFlush = agreement.canFlush;
    this.canTrim = agreement.canTrim;
    this.canWriteZeroes = agreement.canWriteZeroes;
    this.blockSize = agreement.blockSize;
    const granted = new Set(agreement.contexts.map((context) => context.name));
    this.contexts = asked.contexts.filter((context) => granted.has(context));
    this.#agreement = agreement;
    this.#connection = connection;
    this.#onClose = onClose;
    const { minimum, maximumPayload } = agreement.blockSize;
    const longest = Math.min(requestBytes, maximumPayload);
    this.#grid = {
      sizeBytes: agreement.sizeBytes,
      minimum,
      requestBytes: Math.max(minimum, longest - (longest % minimum)),
    };
  }

  async read(offset: number, length: number, target: Uint8Array): Promise<void> {
    invariant(target.length >= length, 'A read needs a buffer as long as itself');
    assertInside(this.#grid, offset, length);
    const what = requestLine({ command: COMMAND.read, flags: 0, offset, length });
    await this.#connection.run(what, readPieces(this.#grid, offset, length, target));
  }

  async *blockStatus(context: string, offset: number, length: number): AsyncGenerator<StatusExtent> {
    assertInside(this.#grid, offset, length);
    const { contexts, blockSize } = this.#agreement;
    const id = contexts.find(({ name }) => name === context)?.id;
    if (id === undefined) throw this.#unsupported(`the metadata context ${context}`);
    const ids = new Set(contexts.map((granted) => granted.id));
    const alignment = blockSize.advertised ? blockSize.minimum : 1;
    const walk = new StatusWalk(offset, length, alignment, this.sizeBytes);
    for (let question = walk.question; question !== undefined; question = walk.question) {
      const transaction = new PendingStatus(question, ids);
      await this.#connection.run(requestLine(question), [{ transaction }]);
      yield* walk.answer(question, transaction.runs.get(id) ?? []);
    }
  }

  async write(offset: number, data: Uint8Array, options: { readonly fua?: boolean } = {}): Promise<void> {
    const fua = options.fua === true && this.#agreement.canFua;
    // A server without FUA may still know how to flush everything, which is more than was asked for.
    const flush = options.fua === true && !fua;
    if (flush && !this.canFlush) throw this.#unsupported('flush');
    const pieces = writePieces(this.#grid, offset, data, fua ? COMMAND_FLAG.fua : 0);
    await this.#change(COMMAND.write, offset, data.length, pieces);
    if (flush) await this.flush();
  }

  async writeZeroes(
    offset: number,
    length: number,
    options: { readonly mayTrim?: boolean } = {},
  ): Promise<void> {
    const flags = options.mayTrim === true ? 0 : COMMAND_FLAG.noHole;
    const pieces = this.canWriteZeroes
      ? effectPieces(COMMAND.writeZeroes, flags, offset, length)
      : writtenZeroPieces(this.#grid, offset, length);
    await this.#change(COMMAND.writeZeroes, offset, length, pieces);
  }

  async trim(offset: number, length: number): Promise<void> {
    if (!this.canTrim) throw this.#unsupported('trim');
    await this.#change(COMMAND.trim, offset, length, effectPieces(COMMAND.trim, 0, offset, length));
  }

  async flush(): Promise<void> {
    if (!this.canFlush) throw this.#unsupported('flush');
    const request = { command: COMMAND.flush, flags: 0, offset: 0, length: 0 };
    await this.#connection.run(requestLine(request), [{ transaction: new PendingEffect(request) }]);
  }

  async close(): Promise<void> {
    this.#onClose();
    await this.#connection.close();
  }

  async #change(command: number, offset: number, length: number, pieces: Iterable<Piece>): Promise<void> {
    assertInside(this.#grid, offset, length);
    assertAligned(this.#grid, offset, length);
    const what = requestLine({ command, flags: 0, offset, length });
    if (this.readOnly)
      throw new Fault(`${what} of export ${JSON.stringify(this.exportName)} failed: it is read-only`, {
        permanent: true,
        code: 'EPERM',
      });
    await this.#connection.run(what, pieces);
  }

  #unsupported(what: string): Fault {
    return new Fault(`Export ${JSON.stringify(this.exportName)} at ${this.uri} does not offer ${what}`, {
      permanent: true,
      code: 'ENOTSUP',
    });
  }
}
