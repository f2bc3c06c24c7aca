export { type AgentGuest, buildAgentGuest } from './agent-guest.ts';
export { makeBootableDisk, makeWritingDisk } from './bootable-disk.ts';
export { type BuiltAppliance, buildAppliance, defaultApplianceDirectory } from './build.ts';
export { buildWritingGuest, lastRecordOf, type WritingGuest } from './writing-guest.ts';
