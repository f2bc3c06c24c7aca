/** What a service says about itself, and what it is given to start with. */
import type { Service } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import type { Health, Messaging } from '@backhaul/messaging';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { z } from 'zod';
import type { BaseConfiguration } from './configuration.ts';

export interface ServiceDefinition<Shape extends z.ZodRawShape> {
  readonly name: Service;
  /** The service's own environment variables; those of every service are added. */
  readonly configuration: z.ZodObject<Shape>;
  /** It is asked over HTTP, and so has to know who may ask. Without it only health and metrics are there. */
  readonly isAsked?: true;
  /** Wires the service. When it resolves, the service is ready. */
  start(context: ServiceContext<z.infer<z.ZodObject<Shape>>>): Promise<void>;
}

export interface ServiceContext<Configuration> {
  readonly configuration: BaseConfiguration & Configuration;
  readonly log: Logger;
  readonly store: EventStore;
  readonly messaging: Messaging;
  /** Routes are added here, before `start` resolves. They answer while the service runs. */
  readonly http: FastifyInstance;
  readonly metrics: Registry;
  /** What the service needs beside Postgres and NATS, for `/health/ready`: also while it waits for it in `start`. */
  needs(name: string, check: () => Promise<Health>): void;
  /** Tells this process from others of the same service. */
  readonly instanceId: string;
  /** The log of one run: every line carries its correlation. */
  logOf(event: { readonly metadata: { readonly correlation: string } }): Logger;
  /** Shows in `/health/ready` and as `backhaul_part_ok` how a part is that others do not depend on: the service is ready without it. */
  part(name: string, health: () => Health): void;
  /** Runs when the service stops, after its handlers have ended; what was added last runs first. */
  onStop(name: string, run: () => Promise<void>): void;
  /**
   * Runs work on one instance at a time. The signal aborts when the service stops or the charge is lost; work that
   * rejects is started again, here or elsewhere; work that resolves is done on this instance.
   */
  singleton(name: string, run: (signal: AbortSignal) => Promise<void>): void;
}
