/** The bytes of a note about a chunk (docs/format.md, "Damage"). */
import { z } from 'zod';
import { canonicalJson } from './manifest.ts';

export const NOTE_BYTES_MAX = 64 * 1024;
const REASON_CHARACTERS_MAX = 4_096;

const NoteSchema = z.object({
  foundAt: z.iso.datetime(),
  reason: z.string(),
  /** Null while the chunk is damaged. */
  healedAt: z.iso.datetime().nullable(),
});
export type Note = z.infer<typeof NoteSchema>;

export const encodeNote = (note: Note): Uint8Array<ArrayBuffer> =>
  canonicalJson({ ...note, reason: note.reason.slice(0, REASON_CHARACTERS_MAX) });

/** Throws where it is none. */
export const decodeNote = (bytes: Uint8Array): Note =>
  NoteSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
