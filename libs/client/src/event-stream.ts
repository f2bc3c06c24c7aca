/**
 * Server-sent events (HTML Living Standard, §9.2.6), as far as Backhaul sends them: text in pieces of any size in,
 * messages out. Pure: the connection is elsewhere.
 */
export interface StreamMessage {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

export interface EventStreamParser {
  /** The messages that this piece completes. */
  feed(text: string): StreamMessage[];
  /** The id to come back with: also of a block that had no data. */
  readonly lastId: string | undefined;
  readonly retryMilliseconds: number | undefined;
}

export function eventStreamParser(): EventStreamParser {
  let rest = '';
  let lastId: string | undefined;
  let retryMilliseconds: number | undefined;
  let event = '';
  let data: string[] = [];

  const take = (line: string): StreamMessage | undefined => {
    if (line === '') {
      const message =
        data.length === 0
          ? undefined
          : { id: lastId ?? '', event: event || 'message', data: data.join('\n') };
      event = '';
      data = [];
      return message;
    }
    const colon = line.indexOf(':');
    // A line that begins with a colon is a comment: how a stream shows that it lives.
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') lastId = value;
    else if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
    else if (field === 'retry' && /^\d+$/.test(value)) retryMilliseconds = Number(value);
    return undefined;
  };

  return {
    feed(text) {
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      return lines.map(take).filter((message) => message !== undefined);
    },
    get lastId() {
      return lastId;
    },
    get retryMilliseconds() {
      return retryMilliseconds;
    },
  };
}
