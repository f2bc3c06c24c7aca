/** Rows as aligned columns for a terminal. Pure. */
export interface TableColumn<Row> {
  readonly title: string;
  readonly value: (row: Row) => string | number | null | undefined;
  /** Numbers read better from the right. */
  readonly right?: boolean;
}

export function table<Row>(columns: readonly TableColumn<Row>[], rows: readonly Row[]): string[] {
  const cells = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => String(column.value(row) ?? '-'))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells.map((line) =>
    line
      .map((cell, index) => {
        const width = widths[index] ?? 0;
        return columns[index]?.right === true ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** `2026-01-01 12:00:05`, in UTC. */
export const moment = (instant: string | null): string | null =>
  instant === null ? null : instant.slice(0, 19).replace('T', ' ');

/** The beginning of an id: enough to give back to any command, unless two backups share it. */
export const shortId = (id: string): string => id.slice(0, 8);

/** `850 ms`, `12.3 s`, `4 min 07 s`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}
