import { expect, test } from 'vitest';
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
