export { checkLog, LogCheck } from './check-log.ts';
export type { Difference, Report, Tally } from './findings.ts';
export { reportJson, reportLines } from './report-lines.ts';
