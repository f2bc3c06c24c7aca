/**
 * Which requests are refused, and how. Pure. Source: doc/proto.md, sections "Request types", "Command flags", "Error values": everything
 * that a client got wrong has its own answer, and the connection goes on.
 */
import { COMMAND, COMMAND_FLAG, type ErrorName } from '../protocol/values.ts';
import { blockSizeOf } from './export.ts';
import type { Agreement } from './haggling.ts';
import type { Asked } from './requests.ts';

export interface RefusedRequest {
  readonly code: ErrorName;
  readonly words: string;
}

/** Undefined where the request can be performed. */
export function refusalOf(
  { served, allocation, structured }: Agreement,
  ask: Asked,
): RefusedRequest | undefined {
  const { command, flags, offset, length } = ask.asked;
  const refuse = (code: ErrorName, words: string): RefusedRequest => ({ code, words });
  const changes = CHANGING.has(command);
  if (changes && served.readOnly) return refuse('EPERM', 'this export is read-only');

  let known: number;
  switch (command) {
    case COMMAND.read:
      known = structured ? COMMAND_FLAG.df : 0;
      break;
    case COMMAND.write:
      known = served.write === undefined ? UNKNOWN : fuaOf(served.flush);
      break;
    case COMMAND.flush:
      known = served.flush === undefined ? UNKNOWN : 0;
      break;
    case COMMAND.trim:
      known = served.trim === undefined ? UNKNOWN : fuaOf(served.flush);
      break;
    case COMMAND.cache:
      known = served.cache === undefined ? UNKNOWN : 0;
      break;
    case COMMAND.writeZeroes:
      known = served.writeZeroes === undefined ? UNKNOWN : COMMAND_FLAG.noHole | fuaOf(served.flush);
      if (served.zeroesAreFast === true && known !== UNKNOWN) known |= COMMAND_FLAG.fastZero;
      break;
    case COMMAND.blockStatus:
      if (!allocation) return refuse('EINVAL', 'no metadata context was agreed on');
      known = COMMAND_FLAG.reqOne;
      break;
    default:
      known = UNKNOWN;
  }
  if (known === UNKNOWN) return refuse('EINVAL', `command ${command} is not offered`);
  // "Clients SHOULD NOT set FUA where it has no meaning", and may all the same where the server offers it.
  const ignored = fuaOf(served.flush);
  if ((flags & ~(known | ignored)) !== 0)
    return refuse('EINVAL', `the flags 0x${flags.toString(16)} are not offered for command ${command}`);
  if (command === COMMAND.flush)
    return offset === 0 && length === 0 ? undefined : refuse('EINVAL', 'a flush is of the whole disk');

  if (length === 0) return refuse('EINVAL', 'no bytes were asked for');
  const { minimum, maximumPayload } = blockSizeOf(served);
  if (carriesData(command) && length > maximumPayload)
    return refuse(
      'EOVERFLOW',
      `${length} bytes are more than the ${maximumPayload} that one request may have`,
    );
  const end = offset + length;
  if (end > served.sizeBytes)
    // A write beyond the end is a disk that is full; anything else there is a mistake.
    return refuse(
      command === COMMAND.write || command === COMMAND.writeZeroes ? 'ENOSPC' : 'EINVAL',
      `${length} bytes at offset ${offset} are not inside this disk of ${served.sizeBytes} bytes`,
    );
  if (offset % minimum !== 0 || (end % minimum !== 0 && end !== served.sizeBytes))
    return refuse('EINVAL', `${length} bytes at offset ${offset} are not on blocks of ${minimum} bytes`);
  return undefined;
}

const UNKNOWN = -1;
const CHANGING = new Set<number>([COMMAND.write, COMMAND.trim, COMMAND.writeZeroes]);
const carriesData = (command: number): boolean => command === COMMAND.read || command === COMMAND.write;
const fuaOf = (flush: unknown): number => (flush === undefined ? 0 : COMMAND_FLAG.fua);
