/** Quantities as people write them in a fleet's description: `100GiB`, `6h`, `40%`. */
import { parseBytes } from '@backhaul/kernel';
import { z } from 'zod';

/** What is written as text with a unit; undefined when it cannot be read. */
const written = (read: (text: string) => number | undefined, example: string) =>
  z.union([z.number(), z.string()]).transform((value, context) => {
    const number = typeof value === 'number' ? value : read(value);
    if (number !== undefined && Number.isFinite(number) && number >= 0) return number;
    context.addIssue({ code: 'custom', message: `"${value}" cannot be read: write it like ${example}` });
    return z.NEVER;
  });

export const Size = written(parseBytes, '100GiB').pipe(z.int().nonnegative());

/** In milliseconds. A bare number would not say of what. */
export const Span = z.string().transform((text, context) => {
  const span = spanOf(text);
  if (span !== undefined) return span;
  context.addIssue({ code: 'custom', message: `"${text}" cannot be read: write it like 6h, 30min or 45s` });
  return z.NEVER;
});

/** From 0 to 1. */
export const Share = written(
  (text) => (/^\s*\d+(\.\d+)?\s*%\s*$/.test(text) ? Number.parseFloat(text) / 100 : undefined),
  '40% or 0.4',
).pipe(z.number().max(1, 'must be at most 100%'));

/** More than all of a disk may change in a day, because it changes again. */
export const Rate = written(
  (text) => (/^\s*\d+(\.\d+)?\s*%\s*$/.test(text) ? Number.parseFloat(text) / 100 : undefined),
  '3% or 0.03',
);

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function spanOf(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*$/.exec(text);
  const [, number, unit = ''] = match ?? [];
  const factor = UNITS[unit];
  return number === undefined || factor === undefined ? undefined : Math.round(Number(number) * factor);
}
