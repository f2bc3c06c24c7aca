/** What a request that was never accepted named, as far as its text can be read. Pure. */

export function saidIn(request: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(request);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

export const textOr = (value: unknown): string | null => (typeof value === 'string' ? value : null);
