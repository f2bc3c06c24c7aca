/**
 * What a JetStream server was asked for is read back and compared: 2.9 drops fields that it does not know without a
 * word, and somebody else may have made the stream otherwise.
 */
import { Fault } from '@backhaul/kernel';

/** Throws a permanent Fault that names every field that differs, what was wanted and what was found. */
export function assertConfigured(what: string, wanted: object, found: object): void {
  const fields = differences(wanted, found);
  if (fields.length === 0) return;
  throw new Fault(`${what} is not configured as Backhaul needs it: ${fields.join('; ')}`, {
    permanent: true,
    code: 'WrongConfiguration',
  });
}

export function differences(wanted: object, found: object): string[] {
  const answers = new Map<string, unknown>(Object.entries(found));
  return Object.entries(wanted).flatMap(([field, value]) => {
    const [want, have] = [JSON.stringify(value), JSON.stringify(answers.get(field))];
    return want === have ? [] : [`${field} should be ${want} and is ${have ?? 'missing'}`];
  });
}
