/** A process that gives up the work it is given, for the test that kills it and has the dead letter sent again. */
import { connectEventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { connectMessaging, silentLog } from './index.ts';

const { POSTGRES_URL = '', NATS_URL = '', PURPOSE = '' } = process.env;
const store = await connectEventStore({ url: POSTGRES_URL, service: 'ingest' });
const messaging = await connectMessaging({
  url: NATS_URL,
  service: 'ingest',
  store,
  postgresUrl: POSTGRES_URL,
  log: silentLog,
});
await messaging.consumeWork({
  purpose: PURPOSE,
  types: ['VmClaimed'],
  concurrency: 1,
  async handle() {
    throw new Fault('the disk has no size', { permanent: true });
  },
});
