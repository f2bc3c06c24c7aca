import type { Event } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { type Moment, timeline } from './timeline.ts';

const moment = (seconds: number, type: Event['type'], data: object): Moment => ({
  seconds,
  event: { type, data } as unknown as Event,
});

test('a proxy boots, hot-adds, and its ports are held one after the other: each at its place in time', () => {
  const picture = timeline([
    moment(0, 'BackupTriggered', {}),
    moment(16, 'ProxyActivationRequested', { proxyId: 'p1' }),
    moment(32, 'ProxyActivated', { proxyId: 'p1' }),
    moment(32, 'DiskAttachRequested', { proxyId: 'p1' }),
    moment(36, 'DiskAttached', { proxyId: 'p1' }),
    moment(36, 'PortsLeased', { purpose: 'backup', proxyId: 'p1', ports: [{ port: 0, uri: '' }] }),
    moment(48, 'PortsReleased', { proxyId: 'p1', ports: [0] }),
    moment(64, 'RunClosed', {}),
  ]);
  expect(picture.slice(0, 3)).toEqual([
    `p1       │${' '.repeat(16)}${'░'.repeat(16)}${'▒'.repeat(4)}${'─'.repeat(28)}│`,
    `  port 0 │${' '.repeat(36)}${'█'.repeat(12)}${'─'.repeat(16)}│`,
    `${' '.repeat(10)}0 s${'64.0 s'.padStart(61)}`,
  ]);
});

test('what is shorter than a column is still seen', () => {
  const [, port] = timeline([
    moment(10, 'ProxyActivated', { proxyId: 'p1' }),
    moment(500.1, 'PortsLeased', { purpose: 'backup', proxyId: 'p1', ports: [{ port: 0, uri: '' }] }),
    moment(500.2, 'PortsReleased', { proxyId: 'p1', ports: [0] }),
    moment(1000, 'RunClosed', {}),
  ]);
  expect(port?.match(/█/g)).toHaveLength(1);
});

test('what a recovery writes through is told from what a backup reads through, and explained', () => {
  const leased = (port: number, purpose: string) =>
    moment(1, 'PortsLeased', { purpose, proxyId: 'p1', ports: [{ port, uri: '' }] });
  const picture = timeline([
    moment(0, 'ProxyActivated', { proxyId: 'p1' }),
    leased(0, 'backup'),
    leased(1, 'recovery'),
    moment(2, 'RunClosed', {}),
  ]);
  expect(picture.slice(1, 3)).toEqual([
    `  port 0 │${' '.repeat(32)}${'█'.repeat(32)}│`,
    `  port 1 │${' '.repeat(32)}${'▓'.repeat(32)}│`,
  ]);
  expect(picture.at(-1)).toContain('by a data stream of a recovery');
});

test('a run without proxies has no picture', () => {
  expect(timeline([moment(1, 'BackupTriggered', {}), moment(2, 'RunClosed', {})])).toEqual([]);
});
