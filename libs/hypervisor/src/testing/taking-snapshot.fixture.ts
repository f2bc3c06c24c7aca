/** A caller that takes one snapshot, in a process of its own so that tests can kill it: options and order as JSON arguments. */
import { openHost } from '../open-host.ts';

const [options = '{}', order = '{}'] = process.argv.slice(2);
const host = await openHost(JSON.parse(options));
const taken = await host.takeSnapshot(JSON.parse(order));
console.log(JSON.stringify(taken));
await host.close();
