/**
 * The shell every service runs in: configuration, log, health, metrics, the event store and messaging, and an end that
 * loses nothing. A service's `main.ts` says what it is called, what it must be told, and what it starts.
 */
import { AssertionError } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { describeError, withDeadline } from '@backhaul/kernel';
import { connectMessaging, runExclusively } from '@backhaul/messaging';
import { type Logger, pino } from 'pino';
import { z } from 'zod';
import { awaitStore } from './await-store.ts';
import { type BaseConfiguration, baseConfiguration, openToAll, readConfiguration } from './configuration.ts';
import { serviceHttp } from './http.ts';
import { serviceMetrics } from './metrics.ts';
import { exitCodes, type ProcessEnd, watchProcessEnd } from './process-end.ts';
import { Readiness } from './readiness.ts';
import { announceReady, withdrawReady } from './ready-file.ts';
import type { ServiceDefinition } from './service.ts';
import { StopPlan } from './stopping.ts';

const DRAIN_MILLISECONDS = 2_000;

interface Shell<Shape extends z.ZodRawShape> {
  readonly configuration: BaseConfiguration & z.infer<z.ZodObject<Shape>>;
  readonly instanceId: string;
  readonly log: Logger;
  readonly end: ProcessEnd;
  readonly plan: StopPlan;
}

/** Runs until the process is told to stop, and ends it: see process-end.ts for the exit codes. */
export async function runService<Shape extends z.ZodRawShape>(
  definition: ServiceDefinition<Shape>,
): Promise<never> {
  const schema = z.object({ ...baseConfiguration.shape, ...definition.configuration.shape });
  const read = readConfiguration(schema, process.env);
  if (!read.ok) notStarted(read.refusal);
  // What two schemas check together is what each of them checks; the type does not see that through the spread.
  const configuration = read.value as Shell<Shape>['configuration'];
  const exposed = definition.isAsked === true ? openToAll(configuration) : undefined;
  if (exposed !== undefined) notStarted([exposed]);
  // Before anything is written: images, scratch files, consoles and sockets are made by tools that ask for no mode of their own.
  process.umask(configuration.BACKHAUL_UMASK);
  const instanceId = randomUUID().slice(0, 8);
  const log = pino(
    {
      level: configuration.BACKHAUL_LOG_LEVEL,
      base: { service: definition.name, instance: instanceId },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    // Written at once: the last line before an exit is the one that is needed most.
    pino.destination({ dest: 1, sync: true }),
  );
  const end = watchProcessEnd(log, configuration.BACKHAUL_SHUTDOWN_SECONDS);
  const plan = new StopPlan();
  try {
    const asked = new Promise((resolve) => end.asked.addEventListener('abort', resolve));
    // The wish to stop does not wait for a start that waits for something itself.
    await Promise.race([start(definition, { configuration, instanceId, log, end, plan }), asked]);
    await asked;
  } catch (error) {
    end.die('the service could not start', error);
  }
  const { open, failed } = await plan.run(end.givenUp);
  if (failed.length > 0) log.error({ failed }, 'stopping was not clean');
  if (open.length > 0) log.error({ open }, 'stopped with something still open');
  else log.info('stopped');
  process.exit(open.length + failed.length > 0 ? exitCodes.somethingOpen : exitCodes.stopped);
}

function notStarted(lines: readonly string[]): never {
  for (const line of lines) process.stderr.write(`${line}\n`);
  process.exit(exitCodes.wrongConfiguration);
}

async function start<Shape extends z.ZodRawShape>(
  definition: ServiceDefinition<Shape>,
  { configuration, instanceId, log, end, plan }: Shell<Shape>,
): Promise<void> {
  const postgresUrl = configuration.BACKHAUL_POSTGRES_URL;
  const shutdownMilliseconds = configuration.BACKHAUL_SHUTDOWN_SECONDS * 1000;
  const metrics = serviceMetrics(definition.name);
  const readiness = new Readiness();
  metrics.watchParts(() => readiness.parts());
  end.asked.addEventListener('abort', () => readiness.stop());

  const http = serviceHttp({
    readiness,
    registry: metrics.registry,
    isAsked: definition.isAsked === true,
    token: configuration.BACKHAUL_API_TOKEN,
    onError(error, request) {
      if (error instanceof AssertionError) end.die('an invariant failed in a request', error);
      log.warn({ request, error: describeError(error) }, 'a request failed');
    },
  });
  const port = await http.listen(configuration.BACKHAUL_HTTP_HOST, configuration.BACKHAUL_HTTP_PORT);
  plan.connections.push({ name: 'http server', run: () => http.close() });
  plan.intake.push({
    name: 'http requests',
    // A stream that never ends by itself is no reason to stay: its connection is closed with the server.
    run: () =>
      withDeadline('The last requests', DRAIN_MILLISECONDS, () => http.drain()).catch(() => undefined),
  });

  const store = await awaitStore({ url: postgresUrl, service: definition.name, log, signal: end.asked });
  plan.connections.push({ name: 'event store', run: () => store.close() });
  metrics.watchAppends(store);
  readiness.uses(store);

  const messaging = await connectMessaging({
    url: configuration.BACKHAUL_NATS_URL,
    replicas: configuration.BACKHAUL_NATS_REPLICAS,
    service: definition.name,
    store,
    postgresUrl,
    log,
    observe: metrics.observe,
    onBug: (error) => end.die('an invariant failed in a handler', error),
  });
  plan.connections.push({ name: 'relay and NATS', run: () => messaging.close() });
  plan.intake.push({ name: 'consumers', run: () => messaging.stopConsuming(shutdownMilliseconds) });
  metrics.watchRelay(messaging);
  readiness.uses(store, messaging);

  await definition.start({
    configuration,
    log,
    store,
    messaging,
    http: http.routes,
    metrics: metrics.registry,
    instanceId,
    needs: (name, check) => readiness.needs(name, check),
    logOf: (event) => log.child({ correlation: event.metadata.correlation }),
    part: (name, health) => readiness.tellsOf(name, health),
    onStop: (name, run) => plan.own.push({ name, run }),
    singleton(name, run) {
      const exclusive = runExclusively({
        postgresUrl,
        name: `${definition.name} ${name}`,
        log,
        async run(signal) {
          try {
            await run(signal);
          } catch (error) {
            if (error instanceof AssertionError) end.die(`an invariant failed in ${name}`, error);
            throw error;
          }
        },
      });
      plan.intake.push({ name, run: () => exclusive.stop(shutdownMilliseconds) });
    },
  });

  if (end.asked.aborted) return;
  if (definition.isAsked === true && configuration.BACKHAUL_API_TOKEN === undefined)
    log.warn('whoever is on this machine may ask: BACKHAUL_API_TOKEN is not set');
  await http.open();
  readiness.start();
  log.info({ port }, 'listening');
  const readyFile = configuration.BACKHAUL_READY_FILE;
  if (readyFile !== undefined) {
    await announceReady(readyFile, port);
    plan.intake.push({ name: 'ready file', run: () => withdrawReady(readyFile) });
  }
}
