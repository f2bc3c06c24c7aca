export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const STEPS = [
  ['TiB', TiB],
  ['GiB', GiB],
  ['MiB', MiB],
  ['KiB', KiB],
] as const;

/** For people: `1.5 GiB`, `512 B`. Binary units, one decimal where it says something. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of STEPS) {
    if (Math.abs(bytes) >= size) return `${Number((bytes / size).toFixed(1))} ${unit}`;
  }
  return `${bytes} B`;
}

/** The inverse, for settings and flags: `64MiB`, `1.5 GiB`, `4096`. Undefined when it is not a size. */
export function parseBytes(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B?|B)?\s*$/i.exec(text);
  if (match === null) return undefined;
  const unit = (match[2] ?? 'B').toUpperCase()[0];
  const factor = { B: 1, K: KiB, M: MiB, G: GiB, T: TiB }[unit as 'B' | 'K' | 'M' | 'G' | 'T'];
  const bytes = Number(match[1]) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
