/**
 * What is known of each snapshot, of each proxy, or of each target, of a host: a folder for each by its id, with a state file in it
 * (state-file.ts). No folder: there is no such thing, and nothing of it anywhere.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@backhaul/kernel';
import type { z } from 'zod';
import { readState, removeFolder, writeState } from './state-file.ts';

type NotedKind = 'snapshot' | 'proxy' | 'target';

export class NotedThings<Shape extends z.ZodType> {
  readonly #folder: string;
  readonly #kind: NotedKind;
  readonly #shape: Shape;
  readonly #idOf: (state: z.infer<Shape>) => string;

  constructor(folder: string, kind: NotedKind, shape: Shape, idOf: (state: z.infer<Shape>) => string) {
    this.#folder = folder;
    this.#kind = kind;
    this.#shape = shape;
    this.#idOf = idOf;
  }

  folderOf(id: string): string {
    requireId(this.#kind, id);
    return join(this.#folder, id);
  }

  /** Sorted. A folder that cannot be read is a Fault: to be taken for empty, it would look as if everything had been lost. */
  async ids(): Promise<string[]> {
    const names = await readdir(this.#folder).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return [];
      throw new Fault(`Looking which ${this.#kind} notes are in ${this.#folder} failed`, { cause });
    });
    return names.sort();
  }

  async read(id: string): Promise<z.infer<Shape> | undefined> {
    return await readState(this.#fileOf(id), this.#shape);
  }

  async write(state: z.infer<Shape>): Promise<void> {
    await writeState(this.#fileOf(this.#idOf(state)), state);
  }

  /** The last step of giving back. */
  async forget(id: string): Promise<void> {
    await removeFolder(this.folderOf(id));
  }

  async all(): Promise<z.infer<Shape>[]> {
    const states = await Promise.all((await this.ids()).map((id) => this.read(id)));
    return states.filter((state) => state !== undefined);
  }

  #fileOf(id: string): string {
    return join(this.folderOf(id), `${this.#kind}.json`);
  }
}

/** Ids become folders and export names. */
export function requireId(what: string, id: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) return;
  throw new Fault(`"${id}" cannot be the id of a ${what}: it has to be usable as the name of a folder`, {
    permanent: true,
    code: 'IdUnusable',
  });
}
