/** HTTP Basic authentication (RFC 7617). */

import { type Awaitable, type Filters, named } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { byName, choose, FLAG, isRecord, mustSecretly, object, required } from "../core/options.ts";
import { checkedBoolean } from "../core/callback.ts";
import {
  checkFilter,
  ENCODING,
  FIELD_NAME,
  identityText,
  quoted,
  readCredentials,
  REALM,
  refuse,
  sameDigest,
  setIdentityField,
} from "./filter_support.ts";

/**
 * Returns whether the password is that of the user; no result means no, and any other value fails the request (500).
 */
type CheckPassword = Extract<BasicAuthOptions["users"], (...args: never[]) => unknown>;

/** Options of {@linkcode basicAuth}. */
export interface BasicAuthOptions {
  /**
   * Passwords by user name, or a function that checks them, for example against a hash. The function returns whether
   * the password is correct; no result means no, and any other value fails the request (500).
   */
  users:
    | Readonly<Record<string, string>>
    | ((user: string, password: string, ctx: RequestContext) => Awaitable<boolean>);
  /** The realm, which browsers show in the password dialog. @default {"restricted"} */
  realm?: string;
  /**
   * A field with the user name for the server; the field of the client is removed. A user whose name cannot be written
   * exactly gets 401.
   *
   * @default {none}
   */
  userHeader?: string;
  /**
   * How the name is written in `userHeader`: `"plain"` for visible ASCII and spaces, `"percent"` for every name,
   * percent-encoded.
   *
   * @default {"plain"}
   */
  userEncoding?: "plain" | "percent";
  /** Whether the server receives the password too. @default {true} */
  forward?: boolean;
}

const PASSWORDS = byName(
  mustSecretly((password) => typeof password === "string" && password !== "", "a password that is not empty"),
  "an object of passwords by name",
  (name) => name.includes(":") ? "must be a name without a colon" : undefined,
);

/** The value is not shown: it may be a list of passwords. */
const USERS = mustSecretly(
  (users) => typeof users === "function",
  "an object of passwords by name, or a function",
);

const OPTIONS = object<BasicAuthOptions>(
  {
    users: required(choose((users) => isRecord(users) ? PASSWORDS : USERS)),
    realm: REALM,
    userHeader: FIELD_NAME,
    userEncoding: ENCODING,
    forward: FLAG,
  },
  'an object with "users"',
  {
    check({ users, userHeader, userEncoding = "plain" }, report) {
      if (userHeader === undefined || !isRecord(users)) return;
      if (userEncoding !== "plain" && userEncoding !== "percent") return;
      for (const name of Object.keys(users)) {
        if (identityText(name, userEncoding) !== null) continue;
        report(
          `cannot be carried exactly by the field "${userHeader}"; choose "userEncoding": "percent"`,
          "users",
          name,
        );
      }
    },
  },
);

/**
 * Requires a valid user name and password; other requests get 401.
 *
 * Names and passwords are UTF-8. Passwords of a record are compared by their digests, in a time that reveals nothing.
 *
 * @throws {TypeError} when an option is invalid
 *
 * @example
 * ```ts
 * import { basicAuth, defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [basicAuth({ users: { admin: "a password out of the environment" }, userHeader: "x-user" })],
 * });
 * ```
 */
export function basicAuth(options: BasicAuthOptions): Filters {
  checkFilter("basicAuth", OPTIONS, options);
  const { users, realm = "restricted", userHeader, userEncoding = "plain", forward = true } = options;
  const check = typeof users === "function" ? users : comparePasswords(users);
  const header = userHeader?.toLowerCase() ?? null;
  const challenge = `Basic realm=${quoted(realm)}, charset="UTF-8"`;
  const names = new WeakMap<RequestContext, string>();
  return named("basicAuth", {
    requestFilter: async (request, ctx) => {
      const given = decode(readCredentials(request.headers.get("authorization"), "basic"));
      if (given === null || !checkedBoolean(await check(given.user, given.password, ctx))) {
        return refuse(401, "A name and a password are needed", { "www-authenticate": challenge });
      }
      if (header === null) return undefined;
      const name = identityText(given.user, userEncoding);
      if (name === null) {
        ctx.log.warn("A user was refused", { reason: `the field ${header} cannot carry the name exactly` });
        return refuse(401, "The name of the user cannot be passed on", { "www-authenticate": challenge });
      }
      names.set(ctx, name);
      return undefined;
    },
    ...(header === null && forward ? {} : {
      upstreamRequestFilter: ({ headers }, ctx) => {
        if (!forward) headers.delete("authorization");
        if (header === null) return;
        setIdentityField(headers, header, names.get(ctx) ?? null);
      },
    }),
  });
}

function comparePasswords(users: Readonly<Record<string, string>>): CheckPassword {
  // A map, since an object has inherited names such as "constructor".
  const passwords = new Map(Object.entries(users));
  return async (user, password) => {
    const expected = passwords.get(user);
    // Also compared for an unknown user: otherwise the time would reveal which names exist.
    const same = await sameDigest(password, expected ?? "");
    return same && expected !== undefined;
  };
}

/** User name and password of the credentials; `null` if they are invalid. */
function decode(credentials: string | null): { user: string; password: string } | null {
  if (credentials === null) return null;
  try {
    const bytes = Uint8Array.from(atob(credentials), (character) => character.charCodeAt(0));
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const colon = text.indexOf(":");
    if (colon < 0 || hasControls(text)) return null;
    return { user: text.slice(0, colon), password: text.slice(colon + 1) };
  } catch {
    // Neither Base64 nor UTF-8.
    return null;
  }
}

/** Control characters are not allowed (RFC 7617 section 2). */
function hasControls(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
