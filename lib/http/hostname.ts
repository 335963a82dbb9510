/** The name in a `Host` field, without what does not tell hosts apart. */

/** One name whatever its case, its port and the dot of an absolute name. */
export function hostnameOf(host: string): string {
  let end = host.length;
  const colon = host.lastIndexOf(":");
  if (colon >= 0 && colon > host.lastIndexOf("]")) end = colon;
  if (host.charCodeAt(end - 1) === 0x2e) end--;
  return (end === host.length ? host : host.slice(0, end)).toLowerCase();
}
