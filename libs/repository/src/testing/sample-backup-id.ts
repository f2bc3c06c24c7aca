export const sampleBackupId = (n: number): string => `00000000-0000-5000-8000-${String(n).padStart(12, '0')}`;
