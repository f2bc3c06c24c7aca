/** For tests of those who replay or simulate a pool: a host without a hypervisor, and anything that can happen to it. */
export { happening, live, policy } from './happenings.fixture.ts';
export { confirmed, HOST, planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';
