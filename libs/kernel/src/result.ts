import type { Refusal } from './refusal.ts';

/**
 * The outcome of something that may be refused. Refusals are expected and travel as values; faults of the world are
 * thrown. Nothing here throws.
 */
export type Result<T, R = Refusal> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: R };

export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value });

export const refuse = <R>(refusal: R): { readonly ok: false; readonly refusal: R } => ({
  ok: false,
  refusal,
});
