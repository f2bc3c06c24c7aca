import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseUri } from './uri.ts';

test.each([
  ['nbd://example.com/disk', 'example.com', 10_809, 'disk'],
  ['nbd://example.com/', 'example.com', 10_809, ''],
  ['nbd://example.com', 'example.com', 10_809, ''],
  ['nbd://example.com//disk', 'example.com', 10_809, '/disk'],
  ['nbd://example.com/hello%20world', 'example.com', 10_809, 'hello world'],
  ['nbd://10.0.0.7:10810/a/../b', '10.0.0.7', 10_810, 'a/../b'],
  ['nbd://[::1]:7/x', '::1', 7, 'x'],
  ['NBD://host/x?x-mine=1', 'host', 10_809, 'x'],
])('%s means what the URI specification says', (uri, host, port, exportName) => {
  expect(parseUri(uri)).toEqual({ endpoint: { kind: 'tcp', host, port }, exportName });
});

test.each([
  ['nbd+unix:///disk?socket=/run/a.sock', '/run/a.sock', 'disk'],
  ['nbd+unix://?socket=rel.sock', 'rel.sock', ''],
  ['nbd+unix:///?socket=%00/abstract', '\0/abstract', ''],
  ['nbd+unix:///a+b?socket=/with%20space+plus', '/with space+plus', 'a+b'],
])('%s names a Unix socket', (uri, socketPath, exportName) => {
  expect(parseUri(uri)).toEqual({ endpoint: { kind: 'unix', socketPath }, exportName });
});

test.each([
  ['nbds://host/x', /TLS is not spoken/],
  ['nbds+unix:///x?socket=/s', /TLS is not spoken/],
  ['nbd+unix:///x', /socket is missing/],
  ['nbd+unix://host/x?socket=/s', /no place beside a Unix socket/],
  ['nbd://host/x?socket=/s', /belongs to nbd\+unix/],
  ['nbd:///x', /must name a host/],
  ['nbd://host:0/x', /must name a host/],
  ['nbd://host:70000/x', /must name a host/],
  ['nbd://host/x?tls-type=psk', /tls-type is not understood/],
  ['nbd://host/%ff', /not followed by UTF-8/],
  ['nbd://host/%00', /cannot hold NUL/],
  [`nbd://host/${'x'.repeat(4097)}`, /at most 4096 bytes/],
  ['http://host/x', /scheme http is not known/],
  ['/run/a.sock', /must look like/],
  ['', /must look like/],
])('%s is refused for good, with the reason', (uri, reason) => {
  expect(() => parseUri(uri)).toThrow(reason);
  expect(() => parseUri(uri)).toThrow(expect.objectContaining({ permanent: true }));
});

test('an export is found in a URI, whatever its name and the path of its socket', () => {
  const name = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(name, fc.stringMatching(/^[^\0]{1,40}$/), (exportName, socketPath) => {
      const [path, socket] = [encodeURIComponent(exportName), encodeURIComponent(socketPath)];
      expect(parseUri(`nbd+unix:///${path}?socket=${socket}`)).toEqual({
        endpoint: { kind: 'unix', socketPath },
        exportName,
      });
      expect(parseUri(`nbd://[fe80::1]:1234/${path}`)).toEqual({
        endpoint: { kind: 'tcp', host: 'fe80::1', port: 1234 },
        exportName,
      });
    }),
  );
});
