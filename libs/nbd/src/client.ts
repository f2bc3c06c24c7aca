/**
 * The client of one NBD connection, as the rest of Backhaul sees it. Protocol: doc/proto.md of the NBD project.
 * Every wait has a time-out; after one the connection is closed, because the server may still answer later.
 */
import type { StatusExtent } from './protocol/status-walk.ts';

export type { StatusExtent };

export interface NbdConnectOptions {
  /** `nbd://host:port/export` or `nbd+unix:///export?socket=/path` (the NBD URI specification). */
  readonly uri: string;
  /** Metadata contexts to ask for, such as `base:allocation` or `qemu:dirty-bitmap:NAME`. One not offered is absent from `contexts`. */
  readonly contexts?: readonly string[];
  /** For connecting and the whole handshake. Default 10,000. */
  readonly connectMilliseconds?: number;
  /**
   * For how long a server whose first words are not NBD's is tried again. A port that is a serial line (a proxy VM's) knows no
   * connections: whoever comes right after a client that died may hear the rest of what that one was being told. Default 0.
   */
  readonly garbledMilliseconds?: number;
  /** The longest time that the oldest request in flight may go without a byte of its reply. Default 30,000. */
  readonly requestMilliseconds?: number;
  /** The longest read or write sent as one request, within what the server takes. Default 512 KiB; 256 KiB for small proxy VMs. */
  readonly requestBytes?: number;
  /** In flight at once, over all calls on this connection. Defaults 16 requests and 8 MiB. */
  readonly windowRequests?: number;
  readonly windowBytes?: number;
  /** Aborting ends the connection, at any time, and with it everything that waits for it. */
  readonly signal?: AbortSignal;
}

/**
 * Every call that fails throws a Fault that names operation, export and endpoint, with the server's own words in its cause.
 * An error that the server reports (EIO, EINVAL ...; see `code`) fails that call alone, and the connection goes on.
 * A time-out (`TimedOut`), a lost connection (`ConnectionLost`) or a server that breaks the protocol (permanent) ends
 * the connection: this and every later call fails.
 */
export interface NbdClient {
  readonly uri: string;
  readonly exportName: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canMultiConnect: boolean;
  readonly canFlush: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly blockSize: {
    readonly minimum: number;
    readonly preferred: number;
    readonly maximumPayload: number;
  };
  /** The contexts that the server granted, of those asked for. */
  readonly contexts: readonly string[];

  /**
   * Reads `length` bytes at `offset` into `target` (at its start), cut into requests the server takes, several in flight.
   * Any offset and length inside the export will do. Holes inside are zero-filled. Resolves when all of it is there; one
   * error fails the whole read. `target` is the client's until the promise settles, and never touched after.
   */
  read(offset: number, length: number, target: Uint8Array): Promise<void>;

  /**
   * Runs of `context` that cover [offset, offset + length) exactly, in order, neighbours with equal flags joined. Asked of the
   * server as they are taken: stop taking, and the asking stops.
   */
  blockStatus(context: string, offset: number, length: number): AsyncIterable<StatusExtent>;

  /**
   * Offsets and lengths must be multiples of `blockSize.minimum`, but may end with the export. `data` must not change until the
   * promise settles: it is sent from where it lies, several requests at a time. `fua`: resolves when the data is on stable storage.
   * A disk that is full fails the write with code `ENOSPC`, an export that is read-only with `EPERM`, before anything is sent.
   */
  write(offset: number, data: Uint8Array, options?: { readonly fua?: boolean }): Promise<void>;
  /** `mayTrim`: the server may leave a hole. Zeroes are sent as data to a server that has no command for them. */
  writeZeroes(offset: number, length: number, options?: { readonly mayTrim?: boolean }): Promise<void>;
  /** Afterwards these bytes may be anything. Only where `canTrim`. */
  trim(offset: number, length: number): Promise<void>;
  /**
   * All writes of this connection that resolved before are on stable storage when it resolves. Only where `canFlush`: a server that
   * does not offer it (section "Transmission flags", SEND_FLUSH) has said nothing of what it holds in memory, so this is then
   * refused as a permanent Fault, and never quietly nothing.
   */
  flush(): Promise<void>;

  /** Says goodbye and closes; what is still in flight fails. Safe to call twice, and after a failure. */
  close(): Promise<void>;
}

/** `base:allocation` flags. HOLE without ZERO means undefined contents: read it. */
export const STATE_HOLE = 1;
export const STATE_ZERO = 2;
/** `qemu:dirty-bitmap:*` flag. */
export const STATE_DIRTY = 1;
