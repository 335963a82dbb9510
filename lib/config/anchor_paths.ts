/** Paths in the file of a configuration, which count from the folder of that file wherever the program is started. */

import { isAbsolute, join } from "node:path";
import { isRecord } from "./schema/options_object.ts";

/**
 * Makes relative paths of files absolute: certificates, keys and authorities of listeners, the access log, tokens.
 *
 * PEM texts, functions and the configuration itself are left as they are.
 *
 * @param config a configuration without problems
 * @param folder of its file
 */
export function anchorPaths(config: Record<string, unknown>, folder: string): Record<string, unknown> {
  const anchor = (value: unknown): unknown =>
    typeof value !== "string" || value.includes("-----BEGIN") || isAbsolute(value)
      ? value
      : join(folder, value);
  const { listen, accessLog, admin } = config;
  return {
    ...config,
    ...(listen === undefined ? {} : { listen: each(listen, (place) => anchorListen(place, anchor)) }),
    ...(accessLog === undefined
      ? {}
      : { accessLog: within(accessLog, "to", (to) => within(to, "file", anchor)) }),
    ...(admin === undefined ? {} : {
      admin: within(admin, "tokens", (tokens) => ofAll(tokens, (token) => within(token, "file", anchor))),
    }),
  };
}

type Change = (value: unknown) => unknown;

function anchorListen(place: unknown, anchor: Change): unknown {
  const pair = (value: unknown) => within(within(value, "cert", anchor), "key", anchor);
  return within(place, "tls", (tls) => {
    const named = within(pair(tls), "certificates", (all) => Array.isArray(all) ? all.map(pair) : all);
    return within(named, "clientCertificates", (clients) => within(clients, "ca", (ca) => each(ca, anchor)));
  });
}

/** Changes one member of an object; anything else, and an object without it, is left as it is. */
function within(value: unknown, key: string, change: Change): unknown {
  return isRecord(value) && value[key] !== undefined ? { ...value, [key]: change(value[key]) } : value;
}

function each(value: unknown, change: Change): unknown {
  return Array.isArray(value) ? value.map(change) : change(value);
}

function ofAll(value: unknown, change: Change): unknown {
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, change(member)]));
}
