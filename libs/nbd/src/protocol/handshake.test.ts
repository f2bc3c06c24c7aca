import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as say from '../testing/server-words.ts';
import { type Agreement, handshake, type Wishes } from './handshake.ts';
import { Feed } from './machine.ts';
import { OPTION, OPTION_REPLY, TRANSMISSION_FLAG } from './values.ts';

const { ack, info, metaContext, errorUnsupported } = OPTION_REPLY;
const FLAGS = TRANSMISSION_FLAG.hasFlags | TRANSMISSION_FLAG.readOnly | TRANSMISSION_FLAG.canMultiConn;
const wishes: Wishes = { exportName: 'vda', contexts: ['base:allocation', 'qemu:dirty-bitmap:b0'] };

/** Lets a server say all this, in pieces of at most `pieceBytes`; answers what was agreed and what the client sent. */
function shake(
  words: readonly Uint8Array[],
  wanted: Wishes = wishes,
  pieces: Iterable<number> = [1e9],
): { agreement: Agreement | undefined; sent: Buffer; leftBytes: number } {
  const sent: Uint8Array[] = [];
  const feed = new Feed(handshake(wanted), ({ send }) => sent.push(...send));
  feed.start();
  const bytes = Buffer.concat(words);
  let at = 0;
  for (const piece of pieces) {
    const end = Math.min(bytes.length, at + piece);
    at += feed.accept(bytes.subarray(at, end));
    if (at < end) break;
  }
  at += feed.accept(bytes.subarray(at));
  return { agreement: feed.result?.value, sent: Buffer.concat(sent), leftBytes: bytes.length - at };
}

/** The options in what a client sent after its flags. */
function optionsIn(sent: Buffer): number[] {
  const options: number[] = [];
  for (let at = 4; at < sent.length; at += 16 + sent.readUInt32BE(at + 12))
    options.push(sent.readUInt32BE(at + 8));
  return options;
}

const modernServer = [
  say.newstyleGreeting(0xffff),
  say.optionReply(OPTION.structuredReply, ack),
  say.optionReply(OPTION.setMetaContext, metaContext, say.metaContext(7, 'base:allocation')),
  say.optionReply(OPTION.setMetaContext, ack),
  say.optionReply(OPTION.go, info, say.infoExport(8 * 2 ** 40, FLAGS | 0x4000)),
  say.optionReply(OPTION.go, info, Buffer.from([0, 2, 104, 105])),
  say.optionReply(OPTION.go, info, say.infoBlockSize(4096, 65_536, 0xffff_ffff)),
  say.optionReply(OPTION.go, ack),
];

describe('a handshake that succeeds', () => {
  test('with a modern server: everything asked for, unknown flags and information ignored', () => {
    const { agreement, sent } = shake(modernServer);
    expect(agreement).toEqual({
      sizeBytes: 8 * 2 ** 40,
      blockSize: { minimum: 4096, preferred: 65_536, maximumPayload: 0xffff_f000, advertised: true },
      structuredReplies: true,
      contexts: [{ id: 7, name: 'base:allocation' }],
      readOnly: true,
      canFlush: false,
      canFua: false,
      canTrim: false,
      canWriteZeroes: false,
      canMultiConnect: true,
    });
    expect(sent.readUInt32BE(0), 'only flags that are known go back').toBe(3);
    expect(optionsIn(sent)).toEqual([OPTION.structuredReply, OPTION.setMetaContext, OPTION.go]);
  });

  test('is the same however the network cuts the bytes', () => {
    const whole = shake(modernServer);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (pieces) => {
        expect(shake(modernServer, wishes, pieces)).toEqual(whole);
      }),
    );
    expect(shake(modernServer, wishes, new Array<number>(1000).fill(1))).toEqual(whole);
  });

  test('without structured replies there are no contexts, and none are asked for', () => {
    const { agreement, sent } = shake([
      say.newstyleGreeting(),
      say.optionReply(OPTION.structuredReply, errorUnsupported),
      say.optionReply(OPTION.go, info, say.infoExport(1000, FLAGS)),
      say.optionReply(OPTION.go, ack),
    ]);
    expect(agreement).toMatchObject({ structuredReplies: false, contexts: [], sizeBytes: 1000 });
    expect(agreement?.blockSize).toMatchObject({ minimum: 512, maximumPayload: 32 * 1024 * 1024 });
    expect(optionsIn(sent)).toEqual([OPTION.structuredReply, OPTION.go]);
  });

  test('a server without GO is asked by EXPORT_NAME', () => {
    const { agreement, sent, leftBytes } = shake([
      say.newstyleGreeting(1),
      say.optionReply(OPTION.structuredReply, ack),
      say.optionReply(OPTION.setMetaContext, errorUnsupported),
      say.optionReply(OPTION.go, errorUnsupported),
      say.exportNameReply(4096, TRANSMISSION_FLAG.hasFlags | TRANSMISSION_FLAG.sendFlush, true),
    ]);
    expect(agreement).toMatchObject({
      sizeBytes: 4096,
      structuredReplies: true,
      canFlush: true,
      readOnly: false,
    });
    expect(optionsIn(sent).at(-1)).toBe(OPTION.exportName);
    expect(sent.subarray(-3).toString()).toBe('vda');
    expect(leftBytes).toBe(0);
  });

  test('a newstyle server that is not fixed gets EXPORT_NAME alone', () => {
    const { agreement, sent } = shake([say.newstyleGreeting(2), say.exportNameReply(512, FLAGS, false)]);
    expect(agreement).toMatchObject({ sizeBytes: 512, structuredReplies: false, canMultiConnect: true });
    expect(optionsIn(sent)).toEqual([OPTION.exportName]);
  });

  test('an oldstyle server tells everything at once', () => {
    const { agreement } = shake([say.oldstyleGreeting(2048, FLAGS)], { exportName: '', contexts: [] });
    expect(agreement).toMatchObject({ sizeBytes: 2048, readOnly: true });
  });

  test('flags without HAS_FLAGS mean nothing', () => {
    const { agreement } = shake([say.newstyleGreeting(2), say.exportNameReply(512, 0xfffe, false)]);
    expect(agreement).toMatchObject({ readOnly: false, canMultiConnect: false, canFlush: false });
  });
});

const upTo = (option: number, ...last: Uint8Array[]): Uint8Array[] => {
  const before = modernServer.slice(
    0,
    { [OPTION.structuredReply]: 1, [OPTION.setMetaContext]: 2 }[option] ?? 4,
  );
  return [...before, ...last];
};

describe('a handshake that fails says why, and the client takes its leave', () => {
  test.each<[string, Uint8Array[], RegExp, boolean]>([
    [
      'no such export',
      upTo(OPTION.go, say.optionReply(OPTION.go, OPTION_REPLY.errorUnknown, Buffer.from('gone'))),
      /no export "vda" \(gone\)/,
      false,
    ],
    [
      'policy',
      upTo(OPTION.go, say.optionReply(OPTION.go, OPTION_REPLY.errorPolicy)),
      /does not let us have/,
      true,
    ],
    [
      'an error nobody knows',
      upTo(OPTION.go, say.optionReply(OPTION.go, 0x8000_00ff)),
      /option error 0x800000ff/,
      true,
    ],
    [
      'TLS wanted',
      upTo(OPTION.structuredReply, say.optionReply(OPTION.structuredReply, OPTION_REPLY.errorTlsRequired)),
      /insists on TLS/,
      true,
    ],
    [
      'shutting down',
      upTo(OPTION.setMetaContext, say.optionReply(OPTION.setMetaContext, OPTION_REPLY.errorShutdown)),
      /shutting down/,
      false,
    ],
    [
      'GO without the export',
      upTo(OPTION.go, say.optionReply(OPTION.go, ack)),
      /without describing the export/,
      true,
    ],
    [
      'a reply to another option',
      upTo(OPTION.go, say.optionReply(OPTION.setMetaContext, ack)),
      /answered option 10/,
      true,
    ],
    [
      'an oversize reply',
      upTo(
        OPTION.go,
        Buffer.concat([say.optionReply(OPTION.go, info).subarray(0, 16), say.u32(0xffff_ffff)]),
      ),
      /claims 4294967295 bytes/,
      true,
    ],
    [
      'replies without end',
      upTo(
        OPTION.go,
        ...new Array<Buffer>(1024).fill(say.optionReply(OPTION.go, info, say.infoExport(1, 1))),
      ),
      /no final one/,
      true,
    ],
    ['garbage for a reply', upTo(OPTION.go, Buffer.alloc(20, 0x41)), /began with 0x4141/, true],
    [
      'a size beyond reason',
      upTo(
        OPTION.go,
        say.optionReply(OPTION.go, info, say.infoExport(2n ** 63n, FLAGS)),
        say.optionReply(OPTION.go, ack),
      ),
      /more than any disk/,
      true,
    ],
    [
      'block sizes that make no sense',
      upTo(
        OPTION.go,
        say.optionReply(OPTION.go, info, say.infoBlockSize(3, 4096, 8192)),
        say.optionReply(OPTION.go, ack),
      ),
      /smallest block of 3/,
      true,
    ],
    [
      'a largest block below the smallest',
      upTo(
        OPTION.go,
        say.optionReply(OPTION.go, info, say.infoBlockSize(4096, 4096, 512)),
        say.optionReply(OPTION.go, ack),
      ),
      /largest of 512/,
      true,
    ],
    [
      'a context granted twice',
      upTo(
        OPTION.setMetaContext,
        ...new Array<Buffer>(2).fill(
          say.optionReply(OPTION.setMetaContext, metaContext, say.metaContext(1, 'a')),
        ),
        say.optionReply(OPTION.setMetaContext, ack),
      ),
      /granted twice/,
      true,
    ],
  ])('%s', (_, words, message, permanent) => {
    const sent: Uint8Array[] = [];
    const feed = new Feed(handshake(wishes), ({ send }) => sent.push(...send));
    feed.start();
    expect(() => feed.accept(Buffer.concat(words))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(message), permanent }),
    );
    expect(optionsIn(Buffer.concat(sent)).at(-1)).toBe(OPTION.abort);
  });

  test.each([
    ['another protocol', Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian'), /is this an NBD server/],
    [
      'half of one',
      Buffer.concat([say.newstyleGreeting().subarray(0, 8), Buffer.alloc(8, 1)]),
      /second magic number/,
    ],
  ])('a greeting in %s', (_, words, message) => {
    expect(() => shake([words])).toThrow(message);
  });

  test('an oldstyle server cannot be asked for an export by name', () => {
    expect(() => shake([say.oldstyleGreeting(2048, FLAGS)])).toThrow(/one export without a name, not "vda"/);
  });
});
