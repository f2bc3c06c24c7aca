import { expect, test } from 'vitest';
import { readHost, withProxyNetworks } from './host-flags.ts';

test('a host is a name and a folder, of images or, when it says so, of the QMP sockets of running VMs', () => {
  expect(readHost('lab=/srv/images')).toEqual({ hostId: 'lab', kind: 'directory', address: '/srv/images' });
  expect(readHost('lab=qemu:/run/vms')).toEqual({ hostId: 'lab', kind: 'qemu', address: '/run/vms' });
  expect(readHost('lab=/srv/a=b:c').address).toBe('/srv/a=b:c');
});

test.each(['lab', '=folder', 'lab='])('"%s" names no host, and the way to write one is said', (text) => {
  expect(() => readHost(text)).toThrow(/names no host.*lab=\/srv\/images.*lab=qemu:/);
});

test('a network for proxies goes to its host', () => {
  const hosts = [readHost('lab=qemu:/run/vms'), readHost('far=/srv/images')];
  const text = 'lab=br0,10.20.0.10-10.20.0.59/24,gateway=10.20.0.1,client=10.20.0.1,client=10.30.0.0/16';
  expect(withProxyNetworks(hosts, [])).toEqual(hosts);
  expect(withProxyNetworks(hosts, [text])).toEqual([
    {
      ...hosts[0],
      proxyNetwork: {
        bridge: 'br0',
        addresses: '10.20.0.10-10.20.0.59/24',
        gateway: '10.20.0.1',
        clients: ['10.20.0.1', '10.30.0.0/16'],
      },
    },
    hosts[1],
  ]);
});

test.each([
  ['lab', /names no network.*lab=br-backup,/],
  ['lab=br0', /names no network/],
  ['lab=br0,10.20.0.10-10.20.0.59/24,mtu=9000', /names no network/],
  ['mars=br0,10.20.0.10-10.20.0.59/24', /names host mars, and no --host does/],
  ['far=br0,10.20.0.10-10.20.0.59/24', /far is of kind directory/],
  ['lab=br0,10.20.0.10/24', /^host lab: proxyNetwork: addresses: must be the first and the last/],
])('the network "%s" is refused', (text, problem) => {
  const hosts = [readHost('lab=qemu:/run/vms'), readHost('far=/srv/images')];
  expect(() => withProxyNetworks(hosts, [text])).toThrow(problem);
});

test('a host has one network', () => {
  const text = 'lab=br0,10.20.0.10-10.20.0.59/24';
  expect(() => withProxyNetworks([readHost('lab=qemu:/run/vms')], [text, text])).toThrow(
    /once for each host/,
  );
});
