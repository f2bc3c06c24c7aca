/** Two tellings of the same thing, recorded and derived, against each other: whether they agree, and in lines where they do not. Pure. */
import type { Event } from '@backhaul/contracts';
import { isOld, type Logged } from './logged.ts';

export interface Comparison {
  readonly recorded: readonly Event[];
  readonly derived: readonly Event[];
  readonly lines: readonly string[];
}

const LINES_MAX = 40;
const VALUE_CHARACTERS_MAX = 160;

/** Undefined when they agree. Of an event stored with an older schema version only the fields that it has are compared. */
export function compare(recorded: readonly Logged[], derived: readonly Event[]): Comparison | undefined {
  // As the log would have kept it: what is undefined is not there.
  const told = recorded.map(asJson);
  const now = derived.map(asJson);
  const agrees = (at: number): boolean => {
    const [event, other] = [recorded[at], now[at]];
    return (
      event !== undefined && other !== undefined && fieldsApart(told[at], other, isOld(event)).length === 0
    );
  };
  if (told.length === now.length && told.every((_, at) => agrees(at))) return undefined;
  return { recorded: told, derived: now, lines: shorten(linesOf(told, now, recorded)) };
}

function linesOf(told: readonly Event[], now: readonly Event[], recorded: readonly Logged[]): string[] {
  if (told.length === now.length) {
    const [sortedTold, sortedNow] = [told.map(text).sort(), now.map(text).sort()];
    if (told.length > 1 && sortedTold.every((each, at) => each === sortedNow[at]))
      return ['the same events in another order', ...sides(told, now)];
    if (told.every(({ type }, at) => type === now[at]?.type))
      return told.flatMap(({ type }, at) =>
        fieldsApart(told[at], now[at], isOld(recorded[at] as Logged)).map((line) => `${type} ${line}`),
      );
  }
  return sides(told, now);
}

/** Whether what is derived is what is recorded, and so many events more. */
export const lacks = ({ recorded, derived }: Comparison, count: number): boolean =>
  derived.length === recorded.length + count && only(recorded, derived).length === 0;

function only(mine: readonly Event[], others: readonly Event[]): Event[] {
  const left = new Map<string, number>();
  for (const each of others) left.set(text(each), (left.get(text(each)) ?? 0) + 1);
  return mine.filter((each) => {
    const count = left.get(text(each)) ?? 0;
    left.set(text(each), count - 1);
    return count <= 0;
  });
}

/** What one side has and the other has not, one event a line. */
function sides(told: readonly Event[], now: readonly Event[]): string[] {
  const [recordedOnly, derivedOnly] = [only(told, now), only(now, told)];
  if (recordedOnly.length === 0 && derivedOnly.length === 0)
    return [
      `recorded: ${told.map(({ type }) => type).join(', ')}`,
      `derived:  ${now.map(({ type }) => type).join(', ')}`,
    ];
  return [
    ...recordedOnly.map((event) => `only recorded: ${oneLine(event)}`),
    ...derivedOnly.map((event) => `only derived:  ${oneLine(event)}`),
  ];
}

/** `data.proxies: recorded 3, derived 2`, for every field in which the two are apart. */
export function fieldsApart(recorded: unknown, derived: unknown, isOlder = false, path = ''): string[] {
  if (Array.isArray(recorded) && Array.isArray(derived))
    return Array.from({ length: Math.max(recorded.length, derived.length) }, (_, at) =>
      fieldsApart(recorded[at], derived[at], isOlder, `${path}[${at}]`),
    ).flat();
  if (isObject(recorded) && isObject(derived)) {
    const names = new Set([...Object.keys(recorded), ...(isOlder ? [] : Object.keys(derived))]);
    return [...names].flatMap((name) =>
      fieldsApart(recorded[name], derived[name], isOlder, path === '' ? name : `${path}.${name}`),
    );
  }
  if (Object.is(recorded, derived) || text(recorded) === text(derived)) return [];
  return [`${path}: recorded ${value(recorded)}, derived ${value(derived)}`];
}

const isObject = (each: unknown): each is Record<string, unknown> =>
  typeof each === 'object' && each !== null && !Array.isArray(each);

/** What happened, without where and when it was recorded. */
const asJson = ({ type, data }: Event): Event => JSON.parse(JSON.stringify({ type, data })) as Event;

/** With its fields in one order, so that equal things are equal texts. */
const text = (each: unknown): string =>
  JSON.stringify(each, (_, field: unknown) =>
    isObject(field) ? Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1))) : field,
  ) ?? 'nothing';

const value = (each: unknown): string => cut(each === undefined ? 'nothing' : JSON.stringify(each));
const oneLine = ({ type, data }: Event): string => `${type} ${cut(JSON.stringify(data))}`;
const cut = (line: string): string =>
  line.length <= VALUE_CHARACTERS_MAX ? line : `${line.slice(0, VALUE_CHARACTERS_MAX)}...`;

const shorten = (lines: readonly string[]): string[] =>
  lines.length <= LINES_MAX
    ? [...lines]
    : [...lines.slice(0, LINES_MAX), `and ${lines.length - LINES_MAX} more lines`];
