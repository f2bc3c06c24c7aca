import { describe, expect, test } from 'vitest';
import { runTool } from './tool.ts';

const milliseconds = 20_000;

describe('a tool', () => {
  test('that fails is quoted: its own words are in the fault', async () => {
    await expect(
      runTool('sh', ['-c', 'echo no space left >&2; exit 1'], { milliseconds }),
    ).rejects.toMatchObject({
      code: 'ToolFailed',
      message: expect.stringMatching(/sh -c .* failed: no space left/),
    });
  });

  test('that answers by its exit code is heard', async () => {
    const { exitCode } = await runTool('sh', ['-c', 'exit 3'], { milliseconds, exitCodes: [0, 3] });
    expect(exitCode).toBe(3);
  });

  test('that takes too long is ended, and one that is not there is said to be missing', async () => {
    await expect(runTool('sleep', ['60'], { milliseconds: 100 })).rejects.toMatchObject({ code: 'TimedOut' });
    await expect(runTool('no-such-tool', [], { milliseconds })).rejects.toMatchObject({
      code: 'ToolMissing',
      permanent: true,
    });
  });

  test('that prints without end is stopped', async () => {
    const endless = runTool('yes', [], { milliseconds, outputBytesMax: 10_000 });
    await expect(endless).rejects.toThrow(/more than it may/);
  });
});
