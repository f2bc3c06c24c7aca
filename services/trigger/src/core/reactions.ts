/** What the other services' news asks of a VM's turn. */
import type { Event } from '@backhaul/contracts';
import { unreachable } from '@backhaul/kernel';
import type { Asked } from './backup.ts';
import type { VmCommand } from './vm.ts';

export const newsOfBackups = ['BackupCompleted', 'BackupFailed', 'PlanRefused', 'RunClosed'] as const;
export type NewsOfBackup = Event<(typeof newsOfBackups)[number]>;

export function react(news: NewsOfBackup, { hostId, vmId, backupId }: Asked): VmCommand {
  const of = { hostId, vmId, backupId };
  switch (news.type) {
    case 'BackupCompleted':
      return {
        type: 'NoteOutcome',
        of,
        ending: { outcome: 'completed', restorePoint: news.data.restorePoint },
      };
    case 'BackupFailed':
      return { type: 'NoteOutcome', of, ending: { outcome: 'failed', restorePoint: null } };
    case 'PlanRefused':
      return { type: 'NotePlanRefused', of };
    case 'RunClosed':
      return { type: 'NoteRunClosed', of };
    default:
      return unreachable(news);
  }
}
