/** What kind of pattern a host is. */

/** A pattern for hosts, by what it takes to match it. */
export type HostShape =
  | { readonly kind: "any" }
  | { readonly kind: "exact"; readonly host: string }
  /** Everything that ends in the text, which begins with a dot. */
  | { readonly kind: "below"; readonly suffix: string }
  | { readonly kind: "pattern"; readonly matches: (hostname: string) => boolean };

const LITERAL = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/**
 * Reads a pattern.
 *
 * @throws {TypeError} when it is no `URLPattern`
 */
export function hostShape(pattern: string): HostShape {
  if (pattern === "*") return { kind: "any" };
  const host = pattern.toLowerCase();
  if (LITERAL.test(host) || /^\[[0-9a-f:.]+\]$/.test(host)) return { kind: "exact", host };
  if (host.startsWith("*.") && LITERAL.test(host.slice(2))) {
    return { kind: "below", suffix: host.slice(1) };
  }
  const compiled = new URLPattern({ hostname: pattern });
  return { kind: "pattern", matches: (hostname) => compiled.test({ hostname }) };
}
