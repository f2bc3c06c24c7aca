import type { consoleApi } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { findRun } from './find-run.ts';
import { ProblemFault } from './http.ts';

const problem = (status: number, code: string, detail: string): ProblemFault =>
  new ProblemFault({ type: 'about:blank', title: code, status, code, detail });
const none = () => Promise.reject(problem(404, 'NotFound', 'There is none.'));
const backup = { backupId: 'b1' } as consoleApi.BackupView;
const recovery = { recoveryId: 'r1' } as consoleApi.RecoveryView;

test('an id names the backup or the recovery that has it', async () => {
  expect(await findRun('b', { backup: async () => backup, recovery: none })).toEqual({
    purpose: 'backup',
    backup,
  });
  expect(await findRun('r', { backup: none, recovery: async () => recovery })).toEqual({
    purpose: 'recovery',
    recovery,
  });
});

test('an id that names none, one of each, or several of one kind is a problem that says so', async () => {
  await expect(findRun('x', { backup: none, recovery: none })).rejects.toThrow(
    /There is no backup and no recovery x/,
  );
  await expect(findRun('1', { backup: async () => backup, recovery: async () => recovery })).rejects.toThrow(
    /1 is the beginning of backup b1 and of recovery r1\. Give more/,
  );
  const nonsense = () => Promise.reject(problem(400, 'BadBackupId', 'None of that kind.'));
  await expect(findRun('?', { backup: nonsense, recovery: nonsense })).rejects.toThrow(
    /\? is no id of a backup or a recovery/,
  );
  const several = () => Promise.reject(problem(409, 'AmbiguousRecoveryId', 'Several are meant.'));
  await expect(findRun('r', { backup: async () => backup, recovery: several })).rejects.toThrow(
    /Several are meant/,
  );
});
