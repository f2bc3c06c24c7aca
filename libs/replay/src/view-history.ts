/** The proxies of a host as plans saw them, at any of its recent versions: a plan is recorded later than the view that it was made on. */
import type { Recorded } from '@backhaul/contracts';
import { emptyView, evolveView, type PoolView } from '@backhaul/planning';

/** Changes kept: plans that are recorded later than so many starts and ends of proxies after their view are not checkable. */
const CHANGES_MAX = 2_000;

export class ViewHistory {
  /** Each holds from its version up to the next one's. */
  readonly #changes: { readonly version: number; readonly view: PoolView }[] = [
    { version: 0, view: emptyView },
  ];
  #version = 0;

  take(event: Recorded): void {
    const newest = this.#changes.at(-1)?.view ?? emptyView;
    const view = evolveView(newest, event);
    this.#version = event.version;
    if (view === newest) return;
    this.#changes.push({ version: event.version, view });
    if (this.#changes.length > 2 * CHANGES_MAX) this.#changes.splice(0, CHANGES_MAX);
  }

  /** Undefined when the log has not come so far, or has left it too far behind. */
  at(version: number): PoolView | undefined {
    if (version > this.#version) return undefined;
    const found = this.#changes.findLast((change) => change.version <= version);
    return found === undefined ? undefined : { ...found.view, hostVersion: version };
  }
}
