import { expect, test } from 'vitest';
import { encodeDisconnect, encodeRequest, requestLine } from './requests.ts';
import { COMMAND, COMMAND_FLAG } from './values.ts';

test('a request is 28 bytes in network order, with all 64 bits of its offset', () => {
  const message = Buffer.alloc(30, 0xaa);
  const request = {
    command: COMMAND.write,
    flags: COMMAND_FLAG.fua,
    offset: 0x1f_2233_4455_6677,
    length: 0xfedc_ba98,
  };
  encodeRequest(message, 1, 0x0102_0304, request);
  expect(message.toString('hex')).toBe(
    'aa' + '25609513' + '0001' + '0001' + '0000000001020304' + '001f223344556677' + 'fedcba98' + 'aa',
  );
});

test('the goodbye names nothing', () => {
  expect(encodeDisconnect().toString('hex')).toBe(`2560951300000002${'00'.repeat(20)}`);
});

test('faults can say what a request was', () => {
  expect(requestLine({ command: COMMAND.read, flags: 0, offset: 4096, length: 512 })).toBe(
    'Reading 512 bytes at offset 4096',
  );
  expect(requestLine({ command: COMMAND.flush, flags: 0, offset: 0, length: 0 })).toBe('Flushing');
});
