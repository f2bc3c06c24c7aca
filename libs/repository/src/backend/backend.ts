/**
 * Where the files of a repository are kept: the only thing that differs between a local folder and an object store.
 * Names are relative, with `/` between their parts, and come from format/bounds.ts alone. `backend-contract.ts` states
 * what every backend must do, as tests.
 */
export interface Backend {
  /** For messages. */
  readonly location: string;

  /**
   * Stores the file whole or not at all, and resolves when it survives power loss. An existing file is replaced, or, with
   * `ifAbsent`, kept: then the answer is `present`. `ifAbsent` decides between processes that race.
   * `pages`: the one part lies at the beginning of this memory, which begins and ends at a page: a backend that can do so may
   * write whole pages of it.
   */
  put(name: string, parts: readonly Uint8Array[], options?: PutOptions): Promise<PutOutcome>;

  /** A file whose name is not known until its last byte: nothing is visible before `commit`. */
  stage(): Promise<StagedFile>;

  /** The whole file, in memory of its own; undefined when there is none. A file beyond `bytesMax` is a permanent Fault. */
  get(name: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer> | undefined>;

  /** The whole file, at the beginning of `target`: its length, or undefined when there is none. One that is longer is a permanent Fault. */
  getInto(name: string, target: Uint8Array): Promise<number | undefined>;

  /** `length` bytes at `position` of the file, in memory of their own; fewer where it ends before. A missing file is a permanent Fault. */
  getPart(name: string, position: number, length: number): Promise<Uint8Array<ArrayBuffer>>;

  /** The file's bytes in order, in pieces of bounded size, each valid until the next is asked for. A missing file is a permanent Fault. */
  stream(name: string): AsyncIterable<Uint8Array>;

  /** True when the file is there and would be after power loss, whoever put it. */
  has(name: string): Promise<boolean>;

  /** The first of these files that is not there, many looked for at a time. Cheaper than `has`: says nothing of power loss. */
  firstMissing(names: readonly string[]): Promise<string | undefined>;

  /** The names directly in a folder, unordered; none when there is no such folder. */
  list(folder: string): AsyncIterable<string>;

  /** Success when there is none. */
  delete(name: string): Promise<void>;
}

export interface PutOptions {
  readonly ifAbsent?: boolean;
  readonly pages?: Uint8Array;
}

export type PutOutcome = 'stored' | 'present';

export interface StagedFile {
  write(bytes: Uint8Array): Promise<void>;
  commit(name: string): Promise<void>;
  /** Gives back what was written. Safe after `commit`, where it does nothing. */
  discard(): Promise<void>;
}
