/**
 * Configuration comes from environment variables and is checked before anything starts. What is wrong is said in one
 * line per variable, with an example; the value itself is never shown, because it may be a secret.
 */
import { ok, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import { isLoopback } from './who-may-ask.ts';

const postgresUrl = z
  .string()
  .refine((text) => isUrl(text, ['postgres:', 'postgresql:']), 'must be a URL of PostgreSQL')
  .meta({ examples: ['postgresql://backhaul_trigger:secret@127.0.0.1:5432/backhaul'] });

const natsUrl = z
  .string()
  .refine(
    (text) => text.split(',').every((each) => isUrl(each.trim(), ['nats:', 'tls:'])),
    'must be one or more URLs of NATS, separated by commas',
  )
  .meta({ examples: ['nats://127.0.0.1:4222'] });

/** A number as it is written in an environment variable, between two bounds. */
export const whole = (least: number, most: number, example: number) =>
  z
    .string()
    .regex(/^-?\d{1,15}$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be a whole number from ${least} to ${most}`)
    .meta({ examples: [String(example)] });

export const baseConfiguration = z.object({
  /** The service's own login: its role may append to the categories that it owns. */
  BACKHAUL_POSTGRES_URL: postgresUrl,
  BACKHAUL_NATS_URL: natsUrl,
  /** Copies of each message in a NATS cluster. */
  BACKHAUL_NATS_REPLICAS: whole(1, 5, 3).default(1),
  BACKHAUL_HTTP_HOST: z.string().default('127.0.0.1'),
  /** 0 takes any free port. */
  BACKHAUL_HTTP_PORT: whole(0, 65_535, 8080).default(0),
  /** Asked of whoever asks the service's own routes (who-may-ask.ts). */
  BACKHAUL_API_TOKEN: z
    .string()
    .regex(/^[\x21-\x7e]{16,}$/, 'must be 16 or more characters without spaces')
    .optional()
    .meta({ examples: ['what "openssl rand -hex 32" says'] }),
  BACKHAUL_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .meta({ examples: ['info'] }),
  /** How long handlers may take to end before the process gives up on them. */
  BACKHAUL_SHUTDOWN_SECONDS: whole(1, 3_600, 30).default(30),
  /** Of all that the service writes, and of all that it starts: by default guests' data and sockets are its own user's alone. */
  BACKHAUL_UMASK: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'must be three octal digits')
    .transform((text) => Number.parseInt(text, 8))
    .meta({ examples: ['077'] })
    .default(0o077),
  /** Written once the service has started: `{"pid":1,"port":8080}`. */
  BACKHAUL_READY_FILE: z.string().optional(),
});
export type BaseConfiguration = z.infer<typeof baseConfiguration>;

/** The configuration, or one line for every variable that is wrong. A variable that is empty counts as not set. */
export function readConfiguration<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  environment: NodeJS.ProcessEnv,
): Result<z.infer<z.ZodObject<Shape>>, readonly string[]> {
  const given = Object.fromEntries(
    Object.keys(schema.shape).flatMap((name) => {
      const value = environment[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
  const checked = schema.safeParse(given);
  if (checked.success) return ok(checked.data);
  const lines = new Map<string, string>();
  for (const issue of checked.error.issues) {
    const name = String(issue.path[0] ?? 'The configuration');
    if (lines.has(name)) continue;
    const problem = issue.path.length > 0 && !(name in given) ? 'is not set' : issue.message;
    const example = exampleOf(schema.shape[name]);
    lines.set(name, `${name}: ${problem}${example === undefined ? '' : `, for example ${example}`}`);
  }
  return refuse([...lines.values()]);
}

/** What is wrong where anybody who reaches the machine could ask, and nobody is asked for a token. */
export function openToAll({
  BACKHAUL_HTTP_HOST: host,
  BACKHAUL_API_TOKEN: token,
}: Pick<BaseConfiguration, 'BACKHAUL_HTTP_HOST' | 'BACKHAUL_API_TOKEN'>): string | undefined {
  if (token !== undefined || isLoopback(host)) return undefined;
  return `BACKHAUL_API_TOKEN: is not set, and BACKHAUL_HTTP_HOST=${host} is open to others than this machine. Set a token, for example ${exampleOf(baseConfiguration.shape.BACKHAUL_API_TOKEN)}, or listen at 127.0.0.1`;
}

/** The example given with `.meta({ examples: [...] })`, also when it stands below a default or an optional. */
function exampleOf(schema: unknown): string | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  const examples = schema.meta()?.examples;
  if (Array.isArray(examples) && examples.length > 0) return String(examples[0]);
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return exampleOf(schema.unwrap());
  return undefined;
}

function isUrl(text: string, protocols: readonly string[]): boolean {
  const url = URL.parse(text);
  return url !== null && protocols.includes(url.protocol) && url.hostname !== '';
}
