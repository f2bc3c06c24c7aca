/**
 * Runs as a picture, backups and recoveries: a row for each proxy (booting, attaching, up) and for each of its ports (which are held when), time
 * from left to right. Pure: drawn from the events alone.
 */
import type { Event } from '@backhaul/contracts';

export interface Moment {
  readonly seconds: number;
  readonly event: Event;
}

const WIDTH = 64;
const MARKS = { absent: ' ', booting: '░', attaching: '▒', up: '─', held: '█', written: '▓' } as const;
type Mark = keyof typeof MARKS;

interface Row {
  readonly name: string;
  /** From `seconds` on, until the next. In order. */
  readonly changes: { readonly seconds: number; readonly mark: Mark }[];
}

/** Rows of proxies in the order in which they appear, each followed by its ports. Empty when the run used none. */
export function timeline(moments: readonly Moment[]): string[] {
  const rows = new Map<string, Row>();
  const row = (key: string, name: string): Row => {
    const known = rows.get(key) ?? { name, changes: [{ seconds: 0, mark: 'absent' as const }] };
    rows.set(key, known);
    return known;
  };
  const attaching = new Map<string, number>();
  const proxyRow = (proxyId: string): Row => row(proxyId, proxyId);
  for (const { seconds, event } of moments) {
    const becomes = (at: Row, mark: Mark): void => void at.changes.push({ seconds, mark });
    switch (event.type) {
      case 'ProxyActivationRequested':
        becomes(proxyRow(event.data.proxyId), 'booting');
        break;
      case 'ProxyActivated':
        becomes(proxyRow(event.data.proxyId), 'up');
        break;
      case 'DirectEndpointOpened':
        becomes(row(event.data.proxyId, "the host's own export"), 'up');
        break;
      case 'DiskAttachRequested':
        attaching.set(event.data.proxyId, (attaching.get(event.data.proxyId) ?? 0) + 1);
        // Asked for at once, done when it has booted.
        if (proxyRow(event.data.proxyId).changes.at(-1)?.mark !== 'booting')
          becomes(proxyRow(event.data.proxyId), 'attaching');
        break;
      case 'DiskAttached': {
        const left = (attaching.get(event.data.proxyId) ?? 1) - 1;
        attaching.set(event.data.proxyId, left);
        becomes(proxyRow(event.data.proxyId), left === 0 ? 'up' : 'attaching');
        break;
      }
      case 'ProxyLost':
      case 'ProxyDeactivated':
        becomes(proxyRow(event.data.proxyId), 'absent');
        break;
      case 'PortsLeased':
      case 'PortsReleased': {
        const { proxyId, ports } = event.data;
        const mark =
          event.type === 'PortsReleased' ? 'up' : event.data.purpose === 'backup' ? 'held' : 'written';
        for (const port of ports.map((one) => (typeof one === 'number' ? one : one.port)))
          becomes(row(`${proxyId} ${port}`, `  port ${port}`), mark);
        break;
      }
    }
  }
  const end = moments.at(-1)?.seconds ?? 0;
  if (rows.size === 0 || end === 0) return [];
  const written = [...rows.values()].some(({ changes }) => changes.some(({ mark }) => mark === 'written'));
  const sorted = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
  const nameWidth = Math.max(...sorted.map(({ name }) => name.length));
  const at = (column: number): number => (column / WIDTH) * end;
  return [
    ...sorted.map(
      ({ name, changes }) =>
        `${name.padEnd(nameWidth)} │${Array.from({ length: WIDTH }, (_, n) => MARKS[strongest(changes, at(n), at(n + 1))]).join('')}│`,
    ),
    `${''.padEnd(nameWidth)}  0 s${`${end.toFixed(1)} s`.padStart(WIDTH - 3)}`,
    `${''.padEnd(nameWidth)}  ${MARKS.booting} booting  ${MARKS.attaching} hot-adding disks  ${MARKS.up} up, or a port that is free  ${MARKS.held} a port held by a child job${written ? `  ${MARKS.written} by a data stream of a recovery` : ''}`,
  ];
}

/** A column stands for a stretch of time: what matters most in it is what it shows. */
function strongest(changes: Row['changes'], from: number, to: number): Mark {
  const order = Object.keys(MARKS) as Mark[];
  let best: Mark = changes.findLast(({ seconds }) => seconds <= from)?.mark ?? 'absent';
  for (const { seconds, mark } of changes) {
    if (seconds > from && seconds < to && order.indexOf(mark) > order.indexOf(best)) best = mark;
  }
  return best;
}
