export { type ExitCode, exitCodes } from './exit.ts';
export { runCli } from './run-cli.ts';
