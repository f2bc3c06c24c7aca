/**
 * Why something asked for will not be done: the fact in the way, in words for the one who asked.
 * `code` is stable and may be matched on; `message` names the thing; `wayOut` says what to do about it.
 */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly wayOut?: string | undefined;
}

/** One line for a log or a terminal. */
export const refusalLine = (refusal: Refusal): string =>
  refusal.wayOut === undefined ? refusal.message : `${refusal.message} ${refusal.wayOut}`;
