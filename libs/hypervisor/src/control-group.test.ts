import { expect, test } from 'vitest';
import { serviceUnitIn, whyUnitEndsAll } from './control-group.ts';

const unit = 'backhaul-proxy-manager.service';

test.each([
  ['a service', `0::/system.slice/${unit}\n`, { name: unit, of: 'system' }],
  ['a service that has groups of its own', `0::/system.slice/${unit}/work\n`, { name: unit, of: 'system' }],
  [
    'a service under cgroups of version 1',
    `2:cpu:/\n1:name=systemd:/system.slice/${unit}\n0::/\n`,
    { name: unit, of: 'system' },
  ],
  [
    'a service of a user',
    '0::/user.slice/user-1000.slice/user@1000.service/app.slice/backhaul.service\n',
    { name: 'backhaul.service', of: 'user' },
  ],
  ['a login', '0::/user.slice/user-0.slice/session-3.scope\n', undefined],
  [
    'a terminal of a desktop',
    '0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term-42.scope\n',
    undefined,
  ],
  ['a container', '0::/system.slice/docker-0123.scope\n', undefined],
  ['a machine without systemd', '1:cpu:/\n0::/\n', undefined],
  ['a limit of memory that bears the name of a service', `4:memory:/${unit}\n`, undefined],
  ['nothing that can be read', '', undefined],
])('the unit of %s', (_, cgroups, expected) => {
  expect(serviceUnitIn(cgroups)).toEqual(expected);
});

test.each(['control-group', 'mixed', ''])('KillMode=%s is said, with what to do', (killMode) => {
  expect(whyUnitEndsAll({ name: unit, of: 'system' }, killMode)).toMatch(
    /^backhaul-proxy-manager\.service has KillMode=.* ends all VMs.* Set KillMode=process/,
  );
});

test.each(['process', 'none'])('KillMode=%s is well', (killMode) => {
  expect(whyUnitEndsAll({ name: unit, of: 'system' }, killMode)).toBeUndefined();
});
