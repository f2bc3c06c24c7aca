import { describe, expect, test } from 'vitest';
import { Feed } from '../protocol/machine.ts';
import { INFO, OPTION, OPTION_REPLY, TRANSMISSION_FLAG } from '../protocol/values.ts';
import * as say from '../testing/client-words.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import type { NbdExport } from './export.ts';
import type { Agreement } from './haggling.ts';
import { session } from './session.ts';

const vda = readOnlyExport('vda', new Uint8Array(1 << 20));
const vdb = memoryExport('vdb', new Uint8Array(8192));

interface Conversation {
  readonly answers: say.OptionAnswer[];
  readonly agreement: Agreement | undefined;
  readonly hasEnded: boolean;
}

/** What the server answers when a client says all this, after the greeting. */
function conversation(exports: readonly NbdExport[], ...words: readonly Buffer[]): Conversation {
  const sent: Uint8Array[] = [];
  let agreement: Agreement | undefined;
  const feed = new Feed(session(exports), (effect) => {
    if ('send' in effect) sent.push(...effect.send);
    else if ('agreed' in effect) agreement = effect.agreed;
  });
  feed.start();
  expect(Buffer.concat(sent.splice(0)).toString('latin1')).toBe('NBDMAGICIHAVEOPT\0\x03');
  feed.accept(Buffer.concat([say.clientFlags(), ...words]));
  const answers = say.optionAnswers(Buffer.concat(sent));
  return { answers, agreement, hasEnded: feed.result !== undefined };
}

const types = ({ answers }: Conversation): number[] => answers.map(({ type }) => type);
const { ack, info, server, metaContext } = OPTION_REPLY;

test('the road of a modern client: structured replies, a context, and GO with its block size', () => {
  const { answers, agreement } = conversation(
    [vda, vdb],
    say.option(OPTION.structuredReply),
    say.option(OPTION.setMetaContext, say.contextsAsked('vda', 'base:allocation', 'qemu:dirty-bitmap:x')),
    say.option(OPTION.go, say.infoAsked('vda', INFO.blockSize, INFO.name, INFO.description)),
  );
  expect(answers.map(({ type }) => type)).toEqual([ack, metaContext, ack, info, info, info, info, ack]);
  const [, context, , described, name, , sizes] = answers.map(({ data }) => data);
  expect(context?.toString('latin1')).toBe('\0\0\0\x01base:allocation');
  expect(described?.readBigUInt64BE(2)).toBe(1n << 20n);
  const flags = described?.readUInt16BE(10) ?? 0;
  expect(flags).toBe(
    TRANSMISSION_FLAG.hasFlags |
      TRANSMISSION_FLAG.readOnly |
      TRANSMISSION_FLAG.sendDf |
      TRANSMISSION_FLAG.canMultiConn,
  );
  expect(name?.subarray(2).toString()).toBe('vda');
  expect([2, 6, 10].map((at) => sizes?.readUInt32BE(at))).toEqual([1, 4096, 32 << 20]);
  expect(agreement).toEqual({ served: vda, structured: true, allocation: true });
});

test('INFO tells the same and goes nowhere', () => {
  const { answers, agreement } = conversation([vda], say.option(OPTION.info, say.infoAsked('vda')));
  expect(answers.map(({ type }) => type)).toEqual([info, ack]);
  // DF belongs to structured replies, which were not agreed on.
  expect((answers[0]?.data.readUInt16BE(10) ?? 0) & TRANSMISSION_FLAG.sendDf).toBe(0);
  expect(agreement).toBeUndefined();
});

test('LIST names every export with its description', () => {
  const { answers } = conversation([vda, vdb], say.option(OPTION.list));
  expect(answers.map(({ type }) => type)).toEqual([server, server, ack]);
  expect(answers[1]?.data.toString('latin1')).toBe('\0\0\0\x03vdb8192 bytes of memory');
});

test('without a name the only export is meant, and of several none', () => {
  const go = say.option(OPTION.go, say.infoAsked(''));
  expect(conversation([vda], go).agreement?.served).toBe(vda);
  expect(types(conversation([vda, vdb], go))).toEqual([OPTION_REPLY.errorUnknown]);
});

test('contexts are those of the export that they were set for, and of the last time of setting', () => {
  const structured = say.option(OPTION.structuredReply);
  const set = (name: string, ...queries: string[]): Buffer =>
    say.option(OPTION.setMetaContext, say.contextsAsked(name, ...queries));
  const go = (name: string): Buffer => say.option(OPTION.go, say.infoAsked(name));
  const granted = (...words: Buffer[]): boolean | undefined =>
    conversation([vda, vdb], structured, ...words).agreement?.allocation;
  expect(granted(set('vda', 'base:allocation'), go('vda'))).toBe(true);
  expect(granted(set('vda', 'base:allocation'), go('vdb'))).toBe(false);
  expect(granted(set('vda', 'base:allocation'), set('vda', 'x:y'), go('vda'))).toBe(false);
  expect(granted(set('vda', 'base:allocation'), set('nobody', 'x:y'), go('vda'))).toBe(false);
  expect(granted(set('vda', 'base:'), go('vda')), 'a wildcard is for LIST').toBe(false);
});

test('LIST_META_CONTEXT tells what there is, by namespace and by name', () => {
  const asked = (...queries: string[]): number[] =>
    types(
      conversation(
        [vda],
        say.option(OPTION.structuredReply),
        say.option(OPTION.listMetaContext, say.contextsAsked('vda', ...queries)),
      ),
    ).slice(1);
  expect(asked()).toEqual([metaContext, ack]);
  expect(asked('base:')).toEqual([metaContext, ack]);
  expect(asked('qemu:', 'base:allocation')).toEqual([metaContext, ack]);
  expect(asked('qemu:')).toEqual([ack]);
});

describe('what cannot be is refused in words, and the haggling goes on', () => {
  const { errorUnsupported, errorInvalid, errorUnknown, errorTooBig, errorBlockSizeRequired } = OPTION_REPLY;
  const structured = say.option(OPTION.structuredReply);
  test.each([
    ['an option of another age', [say.option(99, Buffer.from('x'))], [errorUnsupported]],
    ['STARTTLS', [say.option(5)], [errorUnsupported]],
    ['EXTENDED_HEADERS', [say.option(11)], [errorUnsupported]],
    ['an export that is not here', [say.option(OPTION.go, say.infoAsked('sda'))], [errorUnknown]],
    ['LIST with data', [say.option(OPTION.list, Buffer.from('x'))], [errorInvalid]],
    ['GO cut off', [say.option(OPTION.go, say.infoAsked('vda', 3).subarray(0, -1))], [errorInvalid]],
    [
      'GO with more behind it',
      [say.option(OPTION.go, Buffer.concat([say.infoAsked('vda'), Buffer.alloc(1)]))],
      [errorInvalid],
    ],
    [
      'a name longer than its option',
      [say.option(OPTION.info, Buffer.from('\xff\xff\xff\xff'))],
      [errorInvalid],
    ],
    ['structured replies twice', [structured, structured], [ack, errorInvalid]],
    [
      'contexts without structured replies',
      [say.option(OPTION.setMetaContext, say.contextsAsked('vda', 'base:allocation'))],
      [errorInvalid],
    ],
    [
      'contexts of an export that is not here',
      [structured, say.option(OPTION.setMetaContext, say.contextsAsked('sda'))],
      [ack, errorUnknown],
    ],
    [
      'more queries than there are',
      [
        structured,
        say.option(OPTION.setMetaContext, Buffer.concat([say.named('vda'), say.clientFlags(2 ** 31)])),
      ],
      [ack, errorInvalid],
    ],
    ['an option of a megabyte', [say.option(OPTION.info, Buffer.alloc(1 << 20))], [errorTooBig]],
  ])('%s', (_, words, expected) => {
    const end = conversation([vda], ...words, say.option(OPTION.list));
    expect(types(end)).toEqual([...expected, server, ack]);
    expect(end.hasEnded).toBe(false);
  });

  test('a disk of coarse blocks is for those who ask for them', () => {
    const coarse = { ...vda, blockSize: { minimum: 4096, preferred: 65_536, maximumPayload: 1 << 20 } };
    const plain = say.option(OPTION.go, say.infoAsked('vda'));
    const asking = say.option(OPTION.go, say.infoAsked('vda', INFO.blockSize));
    const end = conversation([coarse], plain, asking);
    expect(types(end)).toEqual([errorBlockSizeRequired, info, info, ack]);
    expect(end.agreement?.served).toBe(coarse);
  });
});

test('EXPORT_NAME is answered in its old way, with its padding unless that was waived', () => {
  for (const [flags, padding] of [
    [1, 124],
    [3, 0],
    [0, 124],
  ] as const) {
    const sent: Uint8Array[] = [];
    const feed = new Feed(session([vdb]), (effect) => {
      if ('send' in effect) sent.push(...effect.send);
    });
    feed.start();
    feed.accept(Buffer.concat([say.clientFlags(flags), say.option(OPTION.exportName, Buffer.from('vdb'))]));
    const answer = Buffer.concat(sent).subarray(18);
    expect(answer.length).toBe(10 + padding);
    expect(answer.readBigUInt64BE(0)).toBe(8192n);
  }
});

test('ABORT is acknowledged, and the client may go', () => {
  const end = conversation([vda], say.option(OPTION.abort));
  expect(types(end)).toEqual([ack]);
  expect(end.hasEnded).toBe(true);
});

describe('what cannot be understood ends the connection', () => {
  const start = (...words: Buffer[]): (() => void) => {
    const feed = new Feed(session([vda]), () => {});
    feed.start();
    return () => void feed.accept(Buffer.concat(words));
  };
  const flags = say.clientFlags();
  test.each([
    ['client flags that nobody offered', start(say.clientFlags(7)), 'client flags 0x7'],
    ['garbage in place of an option', start(flags, Buffer.alloc(16, 0x5a)), 'an option began with'],
    ['an option of a gigabyte', start(flags, say.option(OPTION.list, Buffer.alloc(0), 2 ** 30)), 'bytes'],
    ['an unknown name the old way', start(flags, say.option(OPTION.exportName, Buffer.from('sda'))), '"sda"'],
    ['options without fixed newstyle', start(say.clientFlags(0), say.option(OPTION.list)), 'fixed newstyle'],
    ['options for ever', start(flags, ...Array.from({ length: 1000 }, () => say.option(99))), '1000 options'],
  ])('%s', (_, speaking, words) => {
    expect(speaking).toThrow(words);
  });
});
