/**
 * The URI of an export at an endpoint, by the NBD URI specification: `nbd://host:port/export` or
 * `nbd+unix:///export?socket=/path`. The endpoint is the same URI without an export.
 */
export function exportUri(endpoint: string, exportName: string): string {
  const at = endpoint.indexOf('?');
  const [address, query] = at < 0 ? [endpoint, ''] : [endpoint.slice(0, at), endpoint.slice(at)];
  return `${address.replace(/\/$/, '')}/${encodeURIComponent(exportName)}${query}`;
}
