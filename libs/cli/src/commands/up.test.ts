import { expect, test } from 'vitest';
import { readHost } from './up.ts';

test('a host is a name and a folder, of images or, when it says so, of the QMP sockets of running VMs', () => {
  expect(readHost('lab=/srv/images')).toEqual({ hostId: 'lab', kind: 'directory', address: '/srv/images' });
  expect(readHost('lab=qemu:/run/vms')).toEqual({ hostId: 'lab', kind: 'qemu', address: '/run/vms' });
  expect(readHost('lab=/srv/a=b:c').address).toBe('/srv/a=b:c');
});

test.each(['lab', '=folder', 'lab='])('"%s" names no host, and the way to write one is said', (text) => {
  expect(() => readHost(text)).toThrow(/names no host.*lab=\/srv\/images.*lab=qemu:/);
});
