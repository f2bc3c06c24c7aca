import { expect, test } from 'vitest';
import { applianceOptions, chooseAddress, networkArguments, tcpEndpoint } from './proxy-network.ts';

const network = { bridge: 'br0', addresses: '10.20.0.10-10.20.0.13/24' };

test('each proxy takes an address that nobody has, until there is none', () => {
  const taken: string[] = [];
  for (const proxyId of ['p1', 'p2', 'p3', 'p4']) taken.push(chooseAddress(network, proxyId, taken));
  expect([...taken].sort()).toEqual([10, 11, 12, 13].map((last) => `10.20.0.${last}/24`));
  expect(() => chooseAddress(network, 'p5', taken)).toThrow(/All 4 addresses.*10\.20\.0\.10-10\.20\.0\.13/);
});

test('an address is taken whatever prefix it was noted with', () => {
  const taken = [10, 11, 13].map((last) => `10.20.0.${last}/23`);
  expect(chooseAddress(network, 'p1', taken)).toBe('10.20.0.12/24');
});

test('one proxy always begins at the same address, and others at others', () => {
  const chosen = Array.from({ length: 40 }, (_, n) => chooseAddress(network, `p${n}`, []));
  expect(new Set(chosen).size).toBe(4);
  expect(chooseAddress(network, 'p7', [])).toBe(chosen[7]);
});

test('what QEMU and the appliance are told', () => {
  const boots = [networkArguments(network, 9000), networkArguments(network, 9000)];
  for (const told of boots) {
    expect(told.slice(0, 3)).toEqual(['-netdev', 'bridge,id=net,br=br0', '-device']);
    expect(told[3]).toMatch(/^virtio-net-pci,netdev=net,mac=02(:[0-9a-f]{2}){5},host_mtu=9000,romfile=$/);
  }
  expect(boots[0]).not.toEqual(boots[1]);
  expect(applianceOptions(network, '10.20.0.12/24', 4)).toEqual([
    'backhaul.ports=4',
    'backhaul.address=10.20.0.12/24',
    'backhaul.clients=10.20.0.0/24',
  ]);
  const far = { ...network, gateway: '10.20.0.1', clients: ['10.20.0.1', '10.30.0.0/16'] };
  expect(applianceOptions(far, '10.20.0.12/24', 4).slice(2)).toEqual([
    'backhaul.clients=10.20.0.1/32,10.30.0.0/16',
    'backhaul.gateway=10.20.0.1',
  ]);
});

test('a port is reached at the address, from the port of NBD upwards', () => {
  expect(tcpEndpoint('10.20.0.12/24', 3)).toBe('nbd://10.20.0.12:10812');
});
