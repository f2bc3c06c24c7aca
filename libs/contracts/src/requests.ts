/**
 * What upstream systems send, and what they are answered. Requests go to `req.trigger.<name>` on NATS or as the body of
 * the same call over HTTP; answers go to `ans.<requestId>` on NATS (subscribe first) or come back in the response.
 */
import { z } from 'zod';
import { Policy } from './policy.ts';
import {
  BackupId,
  BackupKind,
  DeadLetterId,
  HostId,
  Name,
  PolicyId,
  Refusal,
  TransportMode,
  VmId,
} from './vocabulary.ts';

/** Part of a NATS subject: no dots, spaces or wildcards. */
export const RequestId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,100}$/, 'must be 1 to 100 letters, digits, "-" or "_"');

/** Subject `req.trigger.BackupRequested`. The same `requestId` again is the same request: one backup. */
export const BackupRequested = z.strictObject({
  requestId: RequestId,
  host: HostId,
  vm: VmId,
  kind: z.enum(['auto', ...BackupKind.options]).default('auto'),
  mode: z.enum(['auto', ...TransportMode.options]).default('auto'),
  policy: PolicyId.default('default'),
  requestedBy: z.string().max(200).optional(),
});
export type BackupRequested = z.infer<typeof BackupRequested>;

export const BackupCancellationRequested = z.strictObject({
  requestId: RequestId,
  backupId: BackupId,
  reason: z.string().default('cancelled on request'),
  requestedBy: z.string().max(200).optional(),
});

export const ScheduleRequested = z.strictObject({
  requestId: RequestId,
  scheduleId: Name,
  cron: z.string().min(1),
  timeZone: z.string().default('UTC'),
  host: HostId,
  vm: VmId,
  kind: z.enum(['auto', ...BackupKind.options]).default('auto'),
  policy: PolicyId.default('default'),
});
export const ScheduleRemovalRequested = z.strictObject({ requestId: RequestId, scheduleId: Name });
/** Strict here, so that a misspelt field is refused and not taken for its default. */
export const PolicyRequested = z.strictObject({ requestId: RequestId, policy: z.strictObject(Policy.shape) });

/** Has a message that a service gave up sent to it again. The same `requestId` again is the same redrive. */
export const RedriveRequested = z.strictObject({
  requestId: RequestId,
  letter: DeadLetterId,
  reason: z.string().min(1).max(1_000).default('sent again on request'),
  requestedBy: z.string().max(200).optional(),
});
export type RedriveRequested = z.infer<typeof RedriveRequested>;

/** Every request there is, by the last token of its subject. */
export const requests = {
  BackupRequested,
  BackupCancellationRequested,
  ScheduleRequested,
  ScheduleRemovalRequested,
  PolicyRequested,
  RedriveRequested,
} as const;
export type RequestName = keyof typeof requests;

export const Answer = z.object({
  requestId: z.string(),
  outcome: z.enum(['accepted', 'refused', 'completed', 'failed']),
  backupId: BackupId.optional(),
  refusal: Refusal.optional(),
});
export type Answer = z.infer<typeof Answer>;

export const requestSubject = (name: RequestName): string => `req.trigger.${name}`;
export const answerSubject = (requestId: string): string => `ans.${requestId}`;
