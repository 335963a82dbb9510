/** Keys in plain words. */

import type { KeySpec } from "../limiter/key_spec.ts";

/** Says what a key is: `client address`, `header appid`, `path and cookie sid`. */
export function describeKey(key: KeySpec): string {
  if (typeof key === "function") return "key that key() returns";
  if (typeof key !== "string") return key.map((part) => describeKey(part)).join(" and ");
  if (key === "ip") return "client address";
  if (key === "certificate:fingerprint") return "client certificate";
  const colon = key.indexOf(":");
  if (colon < 0) return key;
  const [kind, name] = [key.slice(0, colon), key.slice(colon + 1)];
  return `${kind === "query" ? "query parameter" : kind} ${name}`;
}
