/** Completes the admin listener, and shows what it means. */

import type { AdminOptions, AdminPlace, ResolvedAdmin } from "./admin_options.ts";
import { formatListen } from "./format_listen.ts";
import { parseListen } from "./resolve_listen.ts";

const DEFAULT_ADMIN = "127.0.0.1:6189";

/** Reads where to listen; `undefined` when it is no place. A port alone is one of `127.0.0.1`. */
export function parseAdminListen(listen: unknown = DEFAULT_ADMIN): AdminPlace | undefined {
  const place = typeof listen === "number" ? `127.0.0.1:${listen}` : listen;
  return typeof place === "string" ? parseListen(place) : undefined;
}

/** Whether only this machine reaches the place. */
export function isPrivatePlace({ hostname, unix }: AdminPlace): boolean {
  return unix !== undefined ||
    /^(?:localhost|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/i.test(hostname);
}

/** Completes what is known to be good; `null` without an admin listener. */
export function resolveAdmin(admin: string | number | boolean | AdminOptions = false): ResolvedAdmin | null {
  if (admin === false) return null;
  const options: AdminOptions = admin === true ? {} : typeof admin === "object" ? admin : { listen: admin };
  const listen = parseAdminListen(options.listen)!;
  const { tokens = {}, read = isPrivatePlace(listen) ? "anyone" : "token", hosts = [], readyz = {} } =
    options;
  const { pools = [], minServers = 1 } = readyz;
  return Object.freeze({
    listen,
    tokens: new Map(Object.entries(tokens)),
    read,
    hosts: Object.freeze([...hosts]),
    readyz: Object.freeze({ pools: Object.freeze([...pools]), minServers }),
  });
}

/** Writes what it means for people; of tokens only the names of their owners. */
export function describeAdmin({ listen, tokens, read, readyz }: ResolvedAdmin): string {
  const owners = [...tokens.keys()];
  return [
    formatListen(listen),
    read === "anyone" ? "anyone there may look" : "nobody may look without a token",
    owners.length === 0 ? "nothing can be changed" : `changes by ${owners.join(", ")}`,
    ...(readyz.pools.length === 0
      ? []
      : [`ready with ${readyz.minServers} of ${readyz.pools.join(" and of ")}`]),
  ].join(", ");
}
