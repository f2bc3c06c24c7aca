import { expect, test } from 'vitest';
import { exportUri } from './endpoint.ts';

test('an export is named at a unix socket and at a TCP port', () => {
  expect(exportUri('nbd+unix:///?socket=/run/p.sock', 'b1.disk a')).toBe(
    'nbd+unix:///b1.disk%20a?socket=/run/p.sock',
  );
  expect(exportUri('nbd://10.0.0.7:10809', 'b1.vda')).toBe('nbd://10.0.0.7:10809/b1.vda');
  expect(exportUri('nbd://10.0.0.7:10809/', 'b1.vda')).toBe('nbd://10.0.0.7:10809/b1.vda');
});
