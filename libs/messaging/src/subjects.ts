/**
 * Where on NATS a thing is published. A subject is made of tokens between dots, so whatever came from outside (an id
 * with a dot in it, a wildcard) is encoded before it becomes a token: no id can ever be taken for another, or for a filter.
 */
import { catalogue, type EventType, owners } from '@backhaul/contracts';

const SAFE = /[A-Za-z0-9_-]/;

/** Letters, digits, "-" and "_" stay as they are; every other byte (UTF-8) becomes `=XX`. Nothing at all becomes `=`. */
export function encodeToken(text: string): string {
  if (text === '') return '=';
  let token = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const character = String.fromCharCode(byte);
    token += SAFE.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token;
}

export function decodeToken(token: string): string {
  if (token === '=') return '';
  const bytes: number[] = [];
  for (let at = 0; at < token.length; at += 1) {
    if (token[at] === '=') {
      bytes.push(Number.parseInt(token.slice(at + 1, at + 3), 16));
      at += 2;
    } else bytes.push(token.charCodeAt(at));
  }
  return Buffer.from(bytes).toString('utf8');
}

/** `evt.<owner>.<category>.<id>.<Type>`: one filter serves any need. Of a type or category that is not known here, too. */
export function eventSubject(owner: string, { stream, type }: { stream: string; type: string }): string {
  const dash = stream.indexOf('-');
  return `evt.${owner}.${stream.slice(0, dash)}.${encodeToken(stream.slice(dash + 1))}.${type}`;
}

/** Every event of one type, of any stream. */
export function eventFilter(type: EventType): string {
  const { category } = catalogue[type];
  return `evt.${owners[category]}.${category}.*.${type}`;
}

export const requestFilter = (service: string): string => `req.${service}.>`;
export const isRequest = (subject: string): boolean => subject.startsWith('req.');
