/** What every command is given. */
import type { Locations } from './locations.ts';
import type { Terminal } from './terminal.ts';

export interface CommandContext {
  readonly terminal: Terminal;
  readonly environment: NodeJS.ProcessEnv;
  readonly locations: Locations;
  /** Aborts when the person presses Ctrl-C. */
  readonly signal: AbortSignal;
}
