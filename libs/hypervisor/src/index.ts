export { whyAllEndsWithUs } from './control-group.ts';
export { countDensity } from './directory/density.ts';
export * from './host.ts';
export { type HostOptions, openHost } from './open-host.ts';
export { markOf } from './processes.ts';
export { QmpClient, type QmpCommand, type QmpEvent, type QmpOptions, withQmp } from './qmp.ts';
