import { describe, expect, test } from 'vitest';
import { HostsSetting } from './host-configuration.ts';

const messagesOf = (text: string) => HostsSetting.safeParse(text).error?.issues.map((issue) => issue.message);

test('hosts are read from JSON', () => {
  const hosts = [{ hostId: 'lab', kind: 'directory', address: '/srv/images' }];
  expect(HostsSetting.parse(JSON.stringify(hosts))).toEqual(hosts);
});

test('text that is no JSON, a host named twice and an unknown kind each say what is wrong', () => {
  expect(messagesOf('lab')).toEqual([expect.stringMatching(/^is not JSON/)]);
  const lab = { hostId: 'lab', kind: 'directory', address: '/a' };
  expect(messagesOf(JSON.stringify([lab, lab]))).toEqual(['host lab is named twice']);
  expect(HostsSetting.safeParse(JSON.stringify([{ ...lab, kind: 'esx' }])).error?.issues[0]?.path).toEqual([
    0,
    'kind',
  ]);
});

describe('a network for proxies', () => {
  const network = { bridge: 'br-backup', addresses: '10.20.0.10-10.20.0.59/24' };
  const host = { hostId: 'lab', kind: 'qemu', address: '/run/vms' };
  const problems = (...hosts: readonly object[]) => messagesOf(JSON.stringify(hosts));

  test('is read as it was written', () => {
    const full = { ...network, gateway: '10.20.0.1', clients: ['10.20.0.1', '10.30.0.0/16'] };
    for (const proxyNetwork of [network, full]) {
      expect(HostsSetting.parse(JSON.stringify([{ ...host, proxyNetwork }]))).toEqual([
        { ...host, proxyNetwork },
      ]);
    }
  });

  test.each([
    ['10.20.0.10/24', /first and the last/],
    ['10.20.0.10-10.20.0.300/24', /first and the last/],
    ['10.20.0.10-10.20.0.20/30', /prefix of 8 to 29/],
    ['10.20.0.20-10.20.0.10/24', /end before it begins/],
    ['10.20.0.10-10.20.1.10/24', /one network of 24 bits/],
    ['10.20.0.0-10.20.0.10/24', /address of the network itself/],
    ['10.20.0.10-10.20.0.255/24', /broadcast/],
    ['224.20.0.10-224.20.0.20/24', /that machines can have/],
    ['127.20.0.10-127.20.0.20/24', /that machines can have/],
  ])('addresses %s: it is said what is wrong', (addresses, problem) => {
    expect(problems({ ...host, proxyNetwork: { ...network, addresses } })).toEqual([
      expect.stringMatching(problem),
    ]);
  });

  test.each([
    [{ gateway: '10.21.0.1', clients: ['10.30.0.0/16'] }, /on the network of the addresses/],
    [{ gateway: '10.20.0.0', clients: ['10.30.0.0/16'] }, /on the network of the addresses/],
    [{ clients: ['10.20.0.1', '10.30.0.5'] }, /must be named: 10\.30\.0\.5 is not on the network/],
    [{ bridge: '..' }, /name of a bridge/],
    [{ gateway: '10.20.0.12', clients: ['10.30.0.0/16'] }, /not be one of the addresses/],
    [{ gateway: '10.20.0.1' }, /who may connect through the gateway/],
    [{ clients: ['10.30.0.0/99'] }, /IPv4 address, or a network/],
    [{ bridge: 'br backup' }, /name of a bridge/],
  ])('%j: it is said what is wrong', (wrong, problem) => {
    expect(problems({ ...host, proxyNetwork: { ...network, ...wrong } })).toEqual([
      expect.stringMatching(problem),
    ]);
  });

  test('is for hosts whose proxies are VMs, and two hosts have no address in common', () => {
    expect(problems({ ...host, kind: 'directory', proxyNetwork: network })).toEqual([
      expect.stringMatching(/lab is of kind directory/),
    ]);
    const other = (addresses: string) => ({
      ...host,
      hostId: 'far',
      proxyNetwork: { ...network, addresses },
    });
    expect(problems({ ...host, proxyNetwork: network }, other('10.20.0.59-10.20.0.90/24'))).toEqual([
      expect.stringMatching(/hosts lab and far share/),
    ]);
    const apart = [{ ...host, proxyNetwork: network }, other('10.20.0.60-10.20.0.90/24')];
    expect(HostsSetting.safeParse(JSON.stringify(apart)).success).toBe(true);
  });
});
