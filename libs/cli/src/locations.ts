/**
 * Where console, trigger and repository are, and the token for both services: a flag wins over the environment, and that over what
 * `backhaul up` wrote. The token is no flag: the arguments of a process are anybody's to read.
 */
import { type BackhaulClient, backhaulClient, type Deployment } from '@backhaul/client';
import { usage } from './exit.ts';
import { readStackFile, stackFilePath } from './stack-file.ts';

export interface LocationFlags {
  readonly consoleUrl?: string;
  readonly triggerUrl?: string;
  readonly repository?: string;
}

export interface Locations {
  /** Asks the console; needs no trigger. */
  readonly client: () => Promise<BackhaulClient>;
  /** Asks the console and the trigger. */
  readonly requester: () => Promise<BackhaulClient>;
  readonly repository: () => Promise<string>;
}

const names = {
  consoleUrl: { thing: 'the console', flag: '--console-url', variable: 'BACKHAUL_CONSOLE_URL' },
  triggerUrl: { thing: 'the trigger', flag: '--trigger-url', variable: 'BACKHAUL_TRIGGER_URL' },
  repository: { thing: 'the repository', flag: '--repository', variable: 'BACKHAUL_REPOSITORY' },
} as const;
type Place = keyof typeof names;

export function locationsOf(
  flags: LocationFlags,
  environment: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Locations {
  const find = async (place: Place): Promise<string> => {
    const given = flags[place] ?? (environment[names[place].variable] || undefined);
    const found = given ?? (await readStackFile(stackFilePath(environment)))?.[place];
    if (found === undefined) throw unknown(place);
    if (place !== 'repository' && URL.parse(found) === null) {
      const { thing, flag, variable } = names[place];
      throw usage(
        `"${found}" is no URL of ${thing}. Give one such as http://127.0.0.1:8080 with ${flag} or ${variable}.`,
      );
    }
    return found;
  };
  const clientOf = async (urls: Deployment): Promise<BackhaulClient> => {
    const apiToken = environment.BACKHAUL_API_TOKEN || (await tokenOf(urls));
    return backhaulClient({ ...urls, apiToken, ...(signal === undefined ? {} : { signal }) });
  };
  /** What `backhaul up` wrote is for the services that it started, and is shown to no others. */
  const tokenOf = async ({ consoleUrl, triggerUrl }: Deployment): Promise<string | undefined> => {
    const stack = await readStackFile(stackFilePath(environment));
    const theirs = [stack?.consoleUrl, stack?.triggerUrl];
    return theirs.includes(consoleUrl) && theirs.includes(triggerUrl) ? stack?.apiToken : undefined;
  };
  return {
    // Whoever only asks the console does not have to say where the trigger is.
    client: async () => {
      const consoleUrl = await find('consoleUrl');
      return await clientOf({ consoleUrl, triggerUrl: consoleUrl });
    },
    requester: async () =>
      await clientOf({ consoleUrl: await find('consoleUrl'), triggerUrl: await find('triggerUrl') }),
    repository: () => find('repository'),
  };
}

const unknown = (place: Place) => {
  const { thing, flag, variable } = names[place];
  return usage(
    `Where is ${thing}? Start everything on this machine with "backhaul up", or name it with ${flag} or ${variable}.`,
  );
};
