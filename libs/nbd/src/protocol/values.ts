/**
 * The numbers of the NBD protocol, by the names of its document. Source: doc/proto.md, section "Values"
 * (magic numbers: sections "Handshake" and "Transmission"). Only what this client or this server sends or understands.
 */

export const MAGIC = {
  /** ASCII `NBDMAGIC`: the first eight bytes of every server. */
  greeting: 0x4e42444d41474943n,
  /** ASCII `IHAVEOPT`: the server speaks newstyle; the client starts every option with it. */
  option: 0x49484156454f5054n,
  /** In place of `IHAVEOPT`: the server speaks oldstyle. */
  oldstyle: 0x00420281861253n,
  optionReply: 0x3e889045565a9n,
  request: 0x25609513,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
} as const;

/** Handshake flags; the client's flags have the same bits. */
export const HANDSHAKE_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const TRANSMISSION_FLAG = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const;

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OPTION_REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errorUnsupported: 0x8000_0001,
  errorPolicy: 0x8000_0002,
  errorInvalid: 0x8000_0003,
  errorPlatform: 0x8000_0004,
  errorTlsRequired: 0x8000_0005,
  errorUnknown: 0x8000_0006,
  errorShutdown: 0x8000_0007,
  errorBlockSizeRequired: 0x8000_0008,
  errorTooBig: 0x8000_0009,
} as const;

/** Bit 31 of an option's reply type marks an error, known or not. */
export const isOptionError = (replyType: number): boolean => replyType >= 0x8000_0000;

export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const COMMAND_FLAG = {
  fua: 1 << 0,
  noHole: 1 << 1,
  /** One chunk holds all that is read. */
  df: 1 << 2,
  /** One run is enough of an answer. */
  reqOne: 1 << 3,
  fastZero: 1 << 4,
} as const;

/** "Error values": a closed set. */
export const ERROR_VALUE = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
export type ErrorName = keyof typeof ERROR_VALUE;

export const CHUNK_FLAG = { done: 1 << 0 } as const;

export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** Bit 15 of a chunk's type marks an error, known or not. */
export const isErrorChunk = (chunkType: number): boolean => (chunkType & 0x8000) !== 0;

/** "Block size constraints": what to keep to when the server says nothing. */
export const DEFAULT_BLOCK_SIZE = {
  minimum: 512,
  preferred: 4096,
  maximumPayload: 32 * 1024 * 1024,
} as const;

/** "Block size constraints": no server may ask for coarser alignment than this. */
export const LARGEST_MINIMUM_BLOCK = 65_536;

/** "Conventions": no string of the protocol is longer. */
export const STRING_BYTES_MAX = 4096;
