/** What `backhaul up` leaves for the other commands to find: where the services and the repository of this machine are. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';

export const StackFile = z.object({
  pid: z.int(),
  /** Tells this process from a later one of the same pid. */
  started: z.string().optional(),
  consoleUrl: z.string(),
  triggerUrl: z.string(),
  natsUrl: z.string(),
  /** What console and trigger are to be shown. */
  apiToken: z.string().optional(),
  repository: z.string(),
  /** As the console logs in: it reads the log and can append nothing. */
  postgresUrl: z.string().optional(),
  sealKeyFile: z.string().optional(),
});
export type StackFile = z.infer<typeof StackFile>;

export const stackFilePath = (environment: NodeJS.ProcessEnv): string =>
  environment.BACKHAUL_STACK_FILE || join(homedir(), '.backhaul', 'stack.json');

/** Undefined where there is none, or one that was cut off. */
export async function readStackFile(path: string): Promise<StackFile | undefined> {
  try {
    return StackFile.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
  } catch {
    return undefined;
  }
}

export async function writeStackFile(path: string, content: StackFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const whole = `${path}.${process.pid}`;
  await writeFile(whole, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  await rename(whole, path);
}

export const removeStackFile = (path: string): Promise<void> => rm(path, { force: true });
