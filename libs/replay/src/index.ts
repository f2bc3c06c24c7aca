export { checkLog, LogCheck } from './check-log.ts';
export type { Difference, Report, Tally } from './findings.ts';
export { reportJson, reportLines } from './report-lines.ts';
export { ShadowPlans, type ShadowRow, type ShadowSums } from './shadow-plans.ts';
