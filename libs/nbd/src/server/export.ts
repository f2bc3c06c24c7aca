/**
 * What a server can serve: a disk, behind an interface that knows nothing of the protocol. All offsets and lengths are bytes inside the
 * disk and multiples of the smallest block; the server has checked them. Calls come many at a time and from several connections.
 *
 * A call that fails throws. An error with the `code` of one of the protocol's errors (EIO, ENOSPC, EPERM ...) is told as that, any other as
 * EIO; the client reads the error's words, and so does the log.
 */

/** A piece of what was read: bytes, or as many zeros that are not spelt out. */
export type ReadPiece = Uint8Array | { readonly zeroBytes: number };

/** Memory of so many bytes, holding anything. */
export type TakeMemory = (bytes: number) => Uint8Array;

/** A run of the disk. `isHole`: it takes no room, and reads as zero. */
export interface Run {
  readonly length: number;
  readonly isHole: boolean;
}

export interface NbdExport {
  readonly name: string;
  /** A line for people who list exports. */
  readonly description?: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** `minimum` and `preferred` are powers of two. Default: any byte, 4 KiB preferred, at most 32 MiB in one read or write. */
  readonly blockSize?: {
    readonly minimum: number;
    readonly preferred: number;
    readonly maximumPayload: number;
  };

  /**
   * The bytes in order, all of them. A piece may lie anywhere, but must stay as it is until it was sent, which nobody is told of; what has
   * to be copied is best copied into memory of the server's, which it uses again: `take` gives it, for this read alone.
   */
  read(offset: number, length: number, take: TakeMemory): Promise<readonly ReadPiece[]>;
  /** Runs from `offset` on: at least one, at most `runsMax`, and not beyond the range. They need not reach its end. */
  extents(offset: number, length: number, runsMax: number): Promise<readonly Run[]>;
  /** The range will be read soon. Offered to clients where it is here. */
  cache?(offset: number, length: number): Promise<void>;

  /** Where not read-only. `data` is the server's, and may be used again when the promise settles. */
  write?(offset: number, data: Uint8Array): Promise<void>;
  /**
   * What was written before, over any connection, is as safe as this disk makes it. A writable export that has it may be written over
   * several connections at once; one without it is told to be for one connection.
   */
  flush?(): Promise<void>;
  /** The bytes may be anything afterwards. */
  trim?(offset: number, length: number): Promise<void>;
  /** `mayTrim`: a hole will do. */
  writeZeroes?(offset: number, length: number, options: { readonly mayTrim: boolean }): Promise<void>;
  /** `writeZeroes` never costs what writing as many bytes would: clients may ask for it before they write. */
  readonly zeroesAreFast?: boolean;
}

export const DEFAULT_EXPORT_BLOCK_SIZE = {
  minimum: 1,
  preferred: 4096,
  maximumPayload: 32 * 1024 * 1024,
} as const;

export const blockSizeOf = (served: NbdExport) => served.blockSize ?? DEFAULT_EXPORT_BLOCK_SIZE;

/** By name; without a name the only one, where there is only one. */
export function findExport(exports: readonly NbdExport[], name: string): NbdExport | undefined {
  const named = exports.find((served) => served.name === name);
  return named ?? (name === '' && exports.length === 1 ? exports[0] : undefined);
}
