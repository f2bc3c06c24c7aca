export { type BuiltAppliance, buildAppliance, defaultApplianceDirectory } from './build.ts';
