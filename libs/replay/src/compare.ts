/** Two tellings of the same thing, recorded and derived, against each other: whether they agree, and in lines where they do not. Pure. */
import type { Event } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import type { Logged } from './logged.ts';

export interface Comparison {
  readonly recorded: readonly Event[];
  readonly derived: readonly Event[];
  readonly lines: readonly string[];
}

const LINES_MAX = 20;
const VALUE_CHARACTERS_MAX = 160;

/** Undefined when they agree. Of an event stored with an older schema version only the fields that it had then are compared. */
export function compare(recorded: readonly Logged[], derived: readonly Event[]): Comparison | undefined {
  // As the log would have kept it: what is undefined is not there.
  const told = recorded.map(asJson);
  const now = derived.map(asJson);
  const agrees = (at: number): boolean => {
    const [event, other] = [told[at], now[at]];
    return event !== undefined && other !== undefined && eventsApart(event, other, recorded[at]).length === 0;
  };
  if (told.length === now.length && told.every((_, at) => agrees(at))) return undefined;
  return { recorded: told, derived: now, lines: shorten(linesOf(told, now, recorded)) };
}

/** The same of what is still to be derived: that it cannot be is a difference, too. */
export function compareDerived(
  recorded: readonly Logged[],
  derive: () => readonly Event[],
): Comparison | undefined {
  try {
    return compare(recorded, derive());
  } catch (error) {
    return {
      recorded: recorded.map(asJson),
      derived: [],
      lines: [`cannot be derived: ${describeError(error)}`],
    };
  }
}

function linesOf(told: readonly Event[], now: readonly Event[], recorded: readonly Logged[]): string[] {
  if (told.length === now.length) {
    const [sortedTold, sortedNow] = [told.map(text).sort(), now.map(text).sort()];
    if (told.length > 1 && sortedTold.every((each, at) => each === sortedNow[at]))
      return ['the same events in another order', ...sides(told, now)];
    if (told.every(({ type }, at) => type === now[at]?.type))
      return told.flatMap((event, at) =>
        eventsApart(event, now[at] as Event, recorded[at]).map((line) => `${event.type} ${line}`),
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

function eventsApart(recorded: Event, derived: Event, logged: Logged | undefined): string[] {
  if (recorded.type !== derived.type) return [`type: recorded ${recorded.type}, derived ${derived.type}`];
  return fieldsApart(recorded.data, derived.data, 'data', logged?.older ?? recorded.data);
}

/** `data.proxies: recorded 3, derived 2`, for every field in which the two are apart. `asked`: has the fields that count. */
function fieldsApart(recorded: unknown, derived: unknown, path: string, asked: unknown): string[] {
  if (Array.isArray(recorded) && Array.isArray(derived))
    return Array.from({ length: Math.max(recorded.length, derived.length) }, (_, at) =>
      fieldsApart(recorded[at], derived[at], `${path}[${at}]`, Array.isArray(asked) ? asked[at] : undefined),
    ).flat();
  if (isObject(recorded) && isObject(derived)) {
    // A recorded event of the newest version has all the fields there are, and so is asked for those that it lacks, too.
    const names = new Set([
      ...Object.keys(isObject(asked) ? asked : recorded),
      ...(asked === recorded ? Object.keys(derived) : []),
    ]);
    return [...names]
      .filter((name) => name in recorded || name in derived)
      .flatMap((name) =>
        fieldsApart(
          recorded[name],
          derived[name],
          `${path}.${name}`,
          asked === recorded ? recorded[name] : isObject(asked) ? asked[name] : undefined,
        ),
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
