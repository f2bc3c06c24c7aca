/** Lines over time as inline SVG: no script, no font, no colour but by class, so that the page around it decides. Pure. */
export interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface Axis {
  readonly max: number;
  /** What is written at a value. */
  readonly label: (value: number) => string;
  readonly ticks: readonly number[];
}

const WIDTH = 860;
const HEIGHT = 240;
const LEFT = 76;
const RIGHT = 30;
const TOP = 10;
const BOTTOM = 28;

export function lineChart(
  title: string,
  description: string,
  lines: readonly Line[],
  x: Axis,
  y: Axis,
): string {
  const atX = (value: number): string => fixed(LEFT + (WIDTH - LEFT - RIGHT) * (value / (x.max || 1)));
  const atY = (value: number): string =>
    fixed(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / (y.max || 1)));
  const rules = y.ticks.map(
    (tick) =>
      `<line class="rule" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${atY(tick)}" y2="${atY(tick)}"/>` +
      `<text class="tick" text-anchor="end" x="${LEFT - 8}" y="${atY(tick)}" dy="4">${escaped(y.label(tick))}</text>`,
  );
  const marks = x.ticks.map(
    (tick) =>
      `<text class="tick" text-anchor="middle" x="${atX(tick)}" y="${HEIGHT - 8}">${escaped(x.label(tick))}</text>`,
  );
  const paths = lines.map(
    ({ points }, index) =>
      `<path class="line s${index % SERIES}" d="${points.map((point, at) => `${at === 0 ? 'M' : 'L'}${atX(point.x)} ${atY(point.y)}`).join('')}"/>`,
  );
  return [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">`,
    `<title>${escaped(title)}</title><desc>${escaped(description)}</desc>`,
    ...rules,
    ...marks,
    ...paths,
    '</svg>',
  ].join('');
}

/** Lines that can be told apart by colour and by how they are drawn. */
export const SERIES = 6;

const fixed = (value: number): string => String(Number(value.toFixed(1)));

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** About `count` round values from 0 up to at least `max`, the last of which is the end of the axis. */
export function roundTicks(max: number, count: number, steps: readonly number[] = [1, 2, 5]): number[] {
  if (max <= 0) return [0, 1];
  const rough = max / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [...steps, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, index) =>
    Number((index * step).toPrecision(12)),
  );
}
