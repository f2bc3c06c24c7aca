/** A local folder every call to which is timed: answers.ts says why. All who work at one place in a process share what is known of it. */
import { Answers } from './answers.ts';
import type { PutOptions, PutOutcome, StagedFile } from './backend.ts';
import { LocalFolder } from './local-folder.ts';

/** For tools and whoever reads: as long as a VM that runs from a mount is held (docs/adr/0014). A call moves 4 MiB at most. */
const ANSWER_MILLISECONDS = 600_000;

/** Where writing hangs, reading may go on: a file system that is frozen, a server that is full. */
interface Place {
  readonly reads: Answers;
  readonly writes: Answers;
}
const places = new Map<string, Place>();

function placeOf(location: string): Place {
  const known = places.get(location);
  if (known !== undefined) return known;
  const place = { reads: new Answers(), writes: new Answers() };
  places.set(location, place);
  return place;
}

export class TimedFolder extends LocalFolder {
  readonly #place: Place;
  readonly #milliseconds: number;

  constructor(location: string, milliseconds = ANSWER_MILLISECONDS) {
    super(location);
    this.#place = placeOf(location);
    this.#milliseconds = milliseconds;
  }

  override make(): Promise<void> {
    return this.#write('Making the folder', () => super.make());
  }

  override put(name: string, parts: readonly Uint8Array[], options?: PutOptions): Promise<PutOutcome> {
    return this.#write(`Storing ${name}`, () => super.put(name, parts, options));
  }

  override async stage(): Promise<StagedFile> {
    const staged = await this.#write('Making a temporary file', () => super.stage());
    return {
      write: (bytes) => this.#write('Writing a temporary file', () => staged.write(bytes)),
      commit: (name) => this.#write(`Storing ${name}`, () => staged.commit(name)),
      // What hangs is given back when it goes on, and nobody waits for that.
      discard: () =>
        this.#write('Removing a temporary file', () => staged.discard()).catch(() => {
          staged.discard().catch(() => undefined);
        }),
    };
  }

  override get(name: string, bytesMax: number): ReturnType<LocalFolder['get']> {
    return this.#read(`Reading ${name}`, () => super.get(name, bytesMax));
  }

  override getInto(name: string, target: Uint8Array): Promise<number | undefined> {
    return this.#read(`Reading ${name}`, () => super.getInto(name, target));
  }

  override getPart(name: string, position: number, length: number): ReturnType<LocalFolder['getPart']> {
    return this.#read(`Reading ${name}`, () => super.getPart(name, position, length));
  }

  override markOf(name: string): Promise<string | undefined> {
    return this.#read(`Looking for ${name}`, () => super.markOf(name));
  }

  override getMarked(name: string, bytesMax: number): ReturnType<LocalFolder['getMarked']> {
    return this.#read(`Reading ${name}`, () => super.getMarked(name, bytesMax));
  }

  override stream(name: string): AsyncIterable<Uint8Array> {
    return this.#each(`Reading ${name}`, super.stream(name));
  }

  override list(folder: string): AsyncIterable<string> {
    return this.#each(`Listing ${folder}`, super.list(folder));
  }

  override has(name: string): Promise<boolean> {
    return this.#read(`Looking for ${name}`, () => super.has(name));
  }

  override firstMissing(names: readonly string[]): Promise<string | undefined> {
    return this.#read(`Looking for ${names.length} files`, () => super.firstMissing(names));
  }

  override delete(name: string): Promise<void> {
    return this.#write(`Deleting ${name}`, () => super.delete(name));
  }

  override removeAbandoned(now?: number): Promise<number> {
    return this.#write('Removing abandoned temporary files', () => super.removeAbandoned(now));
  }

  async *#each<T>(what: string, things: AsyncIterable<T>): AsyncGenerator<T> {
    const each = things[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#read(what, () => each.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      // Behind one that hangs it would wait for that.
      each.return?.().catch(() => undefined);
    }
  }

  #read<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#place.reads.of(`${what} in ${this.location}`, this.#milliseconds, work);
  }

  #write<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#place.writes.of(`${what} in ${this.location}`, this.#milliseconds, work);
  }
}
