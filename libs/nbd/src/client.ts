/**
 * The client of one NBD connection, as the rest of Backhaul sees it. Protocol: doc/proto.md of the NBD project.
 * Every wait has a time-out; after one the connection is closed, because the server may still answer later.
 */

export interface NbdConnectOptions {
  /** `nbd://host:port/export` or `nbd+unix:///export?socket=/path` (the NBD URI specification). */
  readonly uri: string;
  /** Metadata contexts to ask for, such as `base:allocation` or `qemu:dirty-bitmap:NAME`. One not offered is absent from `contexts`. */
  readonly contexts?: readonly string[];
  /** For connecting and the whole handshake. Default 10,000. */
  readonly connectMilliseconds?: number;
  /** For every request: the longest time without its answer. Default 30,000. */
  readonly requestMilliseconds?: number;
  readonly signal?: AbortSignal;
}

/** A run of the disk with one set of flags in one metadata context. Units: bytes. */
export interface StatusExtent {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

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
   * Holes inside are zero-filled. Resolves when all of it is there; one error fails the whole read, naming the export, offset and NBD error.
   */
  read(offset: number, length: number, target: Uint8Array): Promise<void>;

  /** Runs of `context` that cover [offset, offset + length) exactly, in order, neighbours with equal flags joined. */
  blockStatus(context: string, offset: number, length: number): AsyncIterable<StatusExtent>;

  write(offset: number, data: Uint8Array, options?: { readonly fua?: boolean }): Promise<void>;
  writeZeroes(offset: number, length: number, options?: { readonly mayTrim?: boolean }): Promise<void>;
  flush(): Promise<void>;

  /** Says goodbye and closes. Safe to call twice, and after a failure. */
  close(): Promise<void>;
}

/** `base:allocation` flags. HOLE without ZERO means undefined contents: read it. */
export const STATE_HOLE = 1;
export const STATE_ZERO = 2;
/** `qemu:dirty-bitmap:*` flag. */
export const STATE_DIRTY = 1;
