/**
 * Owned by trigger. Streams `deadLetter-<key of the message>`: what operators had done about a message that a service gave up. Several
 * consumers may have given up the same message, and one that is sent again may come back: each time it is another letter.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { DeadLetterId, Instant } from './vocabulary.ts';

/** The service of the consumer sends the message to it again, once. */
export const DeadLetterRedriven = defineEvent(
  'deadLetter',
  'DeadLetterRedriven',
  z.object({
    deadLetterId: DeadLetterId,
    /** Who could not handle it: `<service>__<purpose>`. */
    consumer: z.string().min(1),
    subject: z.string(),
    messageId: z.string(),
    /** Null for what was no event: a request, or something malformed. */
    eventId: z.uuid().nullable(),
    /** Why it could not be handled. */
    failure: z.string(),
    requestId: z.string().min(1),
    /** Why it is sent again. */
    reason: z.string(),
    requestedBy: z.string(),
    redrivenAt: Instant,
  }),
);
