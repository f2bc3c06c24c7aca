export { type AgentGuest, buildAgentGuest } from './agent-guest.ts';
export { makeBootableDisk, makeWritingDisk } from './bootable-disk.ts';
export { type BuiltAppliance, buildAppliance, defaultApplianceDirectory } from './build.ts';
export { canMakeNetworks, makeTestNetwork, type TestNetwork } from './test-network.ts';
export { buildWritingGuest, lastRecordOf, type WritingGuest } from './writing-guest.ts';
