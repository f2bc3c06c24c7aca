import { expect, test } from 'vitest';
import { wayLine } from './way-line.ts';

const because = 'forced by the request';

test('the wanted way is said in a few words', () => {
  const rejected = [
    { what: 'mode direct-to-host', why: because },
    { what: '3 proxies', why: 'the host takes 2' },
  ];
  expect(wayLine({ mode: 'proxy-vm', proxies: 1, modeReason: because, rejected })).toBe('through 1 proxy');
  expect(wayLine({ mode: 'proxy-vm', proxies: 2, modeReason: because, rejected })).toBe('through 2 proxies');
});

test('another way than the wanted one is never without its reason', () => {
  const why = 'There is no bridge br0 for the ports of proxies';
  const modeReason = `proxy-vm was chosen (${because}) but is not available: ${why}`;
  const rejected = [{ what: 'mode proxy-vm', why }];
  expect(wayLine({ mode: 'direct-to-host', proxies: 0, modeReason, rejected })).toBe(
    `direct to host: ${modeReason}`,
  );
});
