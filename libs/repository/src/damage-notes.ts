/**
 * Which chunks are known to be damaged or missing, on record in the repository itself (docs/format.md, "Damage"): who finds it may be another
 * process, at another machine, than the one that has the bytes again. A note is never wrong to have: the chunk is stored once more.
 */
import { describeError } from '@backhaul/kernel';
import type { Backend } from './backend/backend.ts';
import { DAMAGED_FOLDER, DIGEST_PATTERN, HEALED_FOLDER, noteName } from './format/bounds.ts';
import { decodeNote, encodeNote, NOTE_BYTES_MAX, type Note } from './format/note.ts';
import type { DamagedChunk, HealedChunk } from './repository.ts';

export class DamageNotes {
  readonly #backend: Backend;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** What was noted first stays. */
  async add(digest: string, reason: string): Promise<void> {
    const note = encodeNote({ foundAt: new Date().toISOString(), reason, healedAt: null });
    await this.#backend.put(noteName(DAMAGED_FOLDER, digest), [note], { ifAbsent: true });
  }

  /** A look at one name: asked before each put. */
  async has(digest: string): Promise<boolean> {
    return (await this.#backend.firstMissing([noteName(DAMAGED_FOLDER, digest)])) === undefined;
  }

  /** The chunk was stored anew, or read and found whole. Killed before the end, the note stays, and it is stored once more. */
  async remove(digest: string): Promise<void> {
    const { foundAt, reason } = await this.#read(DAMAGED_FOLDER, digest);
    const healed = encodeNote({ foundAt, reason, healedAt: new Date().toISOString() });
    await this.#backend.put(noteName(HEALED_FOLDER, digest), [healed]);
    await this.#backend.delete(noteName(DAMAGED_FOLDER, digest));
  }

  async digests(folder = DAMAGED_FOLDER): Promise<ReadonlySet<string>> {
    const digests = new Set<string>();
    for await (const name of this.#backend.list(folder)) {
      const digest = name.replace(/\.json$/, '');
      if (digest !== name && DIGEST_PATTERN.test(digest)) digests.add(digest);
    }
    return digests;
  }

  async list(): Promise<{ damaged: DamagedChunk[]; healed: HealedChunk[] }> {
    const [damaged, healed]: [DamagedChunk[], HealedChunk[]] = [[], []];
    for (const digest of await this.digests()) {
      const { foundAt, reason } = await this.#read(DAMAGED_FOLDER, digest);
      damaged.push({ digest, foundAt, reason });
    }
    for (const digest of await this.digests(HEALED_FOLDER)) {
      const { foundAt, reason, healedAt } = await this.#read(HEALED_FOLDER, digest);
      healed.push({ digest, foundAt, reason, healedAt: healedAt ?? UNKNOWN });
    }
    return { damaged, healed };
  }

  /** That there is one is what counts: what it says may be damaged itself. */
  async #read(folder: string, digest: string): Promise<Note> {
    const bytes = await this.#backend.get(noteName(folder, digest), NOTE_BYTES_MAX);
    try {
      return decodeNote(bytes ?? new Uint8Array());
    } catch (error) {
      return { foundAt: UNKNOWN, reason: `its note cannot be read: ${describeError(error)}`, healedAt: null };
    }
  }
}

const UNKNOWN = 'an unknown time';
