#!/usr/bin/env node
/** The `backhaul` command. */
import { runCli } from './run-cli.ts';
import { processTerminal } from './terminal.ts';

// Whoever reads may stop reading: `backhaul events ... | head` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort());

process.exitCode = await runCli(process.argv.slice(2), {
  terminal: processTerminal(),
  environment: process.env,
  signal: interrupted.signal,
});
