import { type BackhaulClient, ProblemFault } from '@backhaul/client';
import type { consoleApi } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { findBackup } from './find-backup.ts';
import { commandLine } from './recover.ts';

const NEWEST = '11111111-0000-4000-8000-000000000001';
const OTHER = 'abcd0000-0000-4000-8000-000000000002';

/** A console with backup OTHER of VM db-1 and a VM `web-1` on each of these hosts. */
function consoleWith(
  hosts: readonly string[],
  completed: readonly string[] = [NEWEST],
): Pick<BackhaulClient, 'all' | 'backup' | 'page'> {
  const problem = (status: number) =>
    new ProblemFault({ type: 'about:blank', title: '', status, code: 'X', detail: 'No.' });
  const vms = hosts.map((hostId) => ({ hostId, vmId: 'web-1' }) as consoleApi.VmView);
  return {
    backup: async (id) => {
      if (!/^[0-9a-f-]+$/.test(id)) throw problem(400);
      if (!OTHER.startsWith(id)) throw problem(404);
      return { backupId: OTHER, vmId: 'db-1' } as consoleApi.BackupView;
    },
    page: (async (list: string, { state }: { state?: string }) => {
      expect([list, state]).toEqual(['backups', 'completed']);
      return { items: completed.map((backupId) => ({ backupId })) };
    }) as unknown as BackhaulClient['page'],
    all: async function* () {
      yield* vms;
    } as unknown as BackhaulClient['all'],
  };
}

test('a backup is meant by a beginning of its id, or by its VM for the newest', async () => {
  expect(await findBackup(consoleWith(['lab']), 'abcd')).toEqual({ backupId: OTHER, vmId: 'db-1' });
  expect(await findBackup(consoleWith(['lab']), 'web-1')).toMatchObject({ backupId: NEWEST, vmId: 'web-1' });
  expect(await findBackup(consoleWith(['lab', 'mars']), 'mars/web-1')).toMatchObject({ hostId: 'mars' });
});

test('what is not clear, or not there, says what to write', async () => {
  await expect(findBackup(consoleWith(['lab', 'mars']), 'web-1')).rejects.toThrow(
    /on several hosts\. Name one: lab\/web-1, mars\/web-1/,
  );
  for (const nothing of [consoleWith([]), consoleWith(['lab'], [])])
    await expect(findBackup(nothing, 'web-1')).rejects.toThrow(
      /There is no backup web-1, and no VM of that name with a restore point/,
    );
});

test('the same wish is written down for another restore point', () => {
  const flags = { disk: ['vda', 'vdb'], mode: 'proxy-vm', start: true, wait: true, memory: 512 } as const;
  expect(commandLine(OTHER, 'lab', 'web-2', flags)).toBe(
    'backhaul recover abcd0000 --host lab --name web-2 --mode proxy-vm --memory 512 --disk vda --disk vdb --start --wait',
  );
});
