import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runTool } from './tool.ts';

const program = `
  const { whyAllEndsWithUs } = await import(${JSON.stringify(fileURLToPath(new URL('./control-group.ts', import.meta.url)))});
  console.log(await whyAllEndsWithUs());
`;
const asked = async (...before: readonly string[]): Promise<string> => {
  const [command = '', ...args] = [...before, process.execPath, '--input-type=module', '-e', program];
  return (await runTool(command, args, { milliseconds: 30_000 })).stdout.trim();
};

// Another process space is root's to make.
test.skipIf(process.getuid?.() !== 0)(
  'the first process of a container says that all ends with it',
  async () => {
    expect(await asked('unshare', '--pid', '--fork', '--mount-proc')).toMatch(/^This is the first process/);
  },
);
