/**
 * On what occasion the owner of a pool appended to the stream of its host, as the `causation` of those events says it. What other
 * services' news led to has the id of that news there. All else comes of the pool itself, of what was done at the host or of what was
 * seen there; then it is one of these, with the instant at which it was decided: `host-lab look 2026-01-01T00:00:00.000Z`.
 * With it every append can be decided again from the events before it (libs/replay).
 */

/**
 * `look`: decided on the pool and the instant alone (next-steps.ts). `confirmation`: what an action brought about (confirmation.ts).
 * `drift`: what the host was seen to be (drift.ts). `given-up`: an action that cannot be done (given-up.ts). `registration`: the host
 * as it is configured.
 */
const KINDS = ['look', 'confirmation', 'drift', 'given-up', 'registration'] as const;

export interface Occasion {
  readonly kind: (typeof KINDS)[number];
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export const occasionText = (hostId: string, { kind, at }: Occasion): string =>
  `host-${hostId} ${kind} ${new Date(at).toISOString()}`;

/** Undefined for the id of news, and for what was recorded before occasions were. */
export function readOccasion(hostId: string, causation: string): Occasion | undefined {
  const prefix = `host-${hostId} `;
  if (!causation.startsWith(prefix)) return undefined;
  const [name, instant = ''] = causation.slice(prefix.length).split(' ');
  const [kind, at] = [KINDS.find((each) => each === name), Date.parse(instant)];
  return kind === undefined || Number.isNaN(at) ? undefined : { kind, at };
}
