export { type KeptPool, type KeptPools, keptPools } from './kept-pools.ts';
