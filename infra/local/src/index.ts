export { freePort } from './free-port.ts';
export { type LocalNats, startNats } from './nats.ts';
export { type LocalPostgres, startPostgres } from './postgres.ts';
export { ServiceProcess } from './service-process.ts';
export { type Stack, type StackOptions, startStack } from './stack.ts';
export { startWritingVm, type WritingVm, type WritingVmOptions } from './writing-vm.ts';
