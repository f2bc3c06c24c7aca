/** `backhaul database prepare`: what a deployment does once, and again at each release, before its services start. */
import { migrate, roleOf, services } from '@backhaul/event-store';
import type { CommandContext } from '../command.ts';
import { usage } from '../exit.ts';

/** For all services, or with the service's name behind it for that one. */
const PASSWORD = 'BACKHAUL_ROLE_PASSWORD';

export async function prepareDatabase(
  { adminUrl }: { readonly adminUrl: string },
  { terminal, environment }: CommandContext,
): Promise<void> {
  if (!URL.canParse(adminUrl) || !/^postgres(ql)?:$/.test(new URL(adminUrl).protocol))
    throw usage('--admin-url is to be a URL such as postgresql://postgres:secret@127.0.0.1:5432/backhaul.');
  const passwords = new Map<string, string>();
  for (const service of services) {
    const own = `${PASSWORD}_${service.toUpperCase().replaceAll('-', '_')}`;
    const password = environment[own] || environment[PASSWORD];
    if (password === undefined)
      throw usage(`Which password will ${service} log in with? Set ${own}, or ${PASSWORD} for all services.`);
    passwords.set(service, password);
  }
  await migrate({ adminUrl, rolePassword: (service) => passwords.get(service) ?? '' });
  const { pathname, host } = new URL(adminUrl);
  terminal.out(`Database ${pathname.slice(1)} at ${host} has the schema of this release. Roles that log in:`);
  for (const service of services) terminal.out(`  ${service.padEnd(14)} ${roleOf(service)}`);
}
