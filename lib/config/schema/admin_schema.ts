/** The schema of the admin listener. */

import { describeValue } from "../../core/describe_value.ts";
import * as v from "valibot";
import {
  ADMIN_READERS,
  type AdminOptions,
  MIN_TOKEN_LENGTH,
  type ReadinessOptions,
} from "../admin_options.ts";
import { isPrivatePlace, parseAdminListen } from "../resolve_admin.ts";
import { poolNames } from "./check_pools.ts";
import { mustBe, mustBeSecret, oneOf } from "./messages.ts";
import { wholeNumberSchema } from "./number_schema.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

const PLACE = '"host:port", "unix:/path" or a port number';
const TOKEN =
  `{ file: "PATH" }, { env: "NAME" } or the text of a token of at least ${MIN_TOKEN_LENGTH} characters`;
const OWNER = /^[\w.@-]{1,64}$/;

const placeSchema = v.custom<string | number>(
  (value) => typeof value !== "object" && parseAdminListen(value) !== undefined,
  mustBe(PLACE),
);

/** What is no token has no business in a message, since it may be one that was written in a wrong way. */
const tokenSchema = v.custom<unknown>(isToken, mustBeSecret(TOKEN));

function isToken(value: unknown): boolean {
  if (typeof value === "string") return isTokenText(value);
  if (!isRecord(value)) return false;
  const [[kind, name] = [], ...others] = Object.entries(value);
  return others.length === 0 && (kind === "file" || kind === "env") && typeof name === "string" &&
    name !== "";
}

/** Whether a text can stand in a field `Authorization` (RFC 6750 section 2.1), and nobody guesses it. */
function isTokenText(text: string): boolean {
  return text.length >= MIN_TOKEN_LENGTH && /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

const tokensSchema = v.pipe(
  v.custom<Record<string, unknown>>(isRecord, mustBe("an object of tokens by the names of their owners")),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    for (const name of Object.keys(value)) {
      if (OWNER.test(name)) continue;
      const message = "must be named with letters, digits and ._@- only, 64 at most";
      addIssue({ message, path: [pathItem(value, name)] });
    }
  }),
  v.record(v.string(), tokenSchema),
) as unknown as v.GenericSchema;

const nameSchema = v.custom<string>(
  (value) => typeof value === "string" && /^[^\s/@?#:[\]]+$/.test(value),
  mustBe("a host name without port"),
);

const readyzEntries = {
  pools: v.optional(v.array(v.string(mustBe("the name of a pool")), mustBe("an array of names of pools"))),
  minServers: v.optional(wholeNumberSchema(1, 65_535)),
} satisfies Record<keyof ReadinessOptions, v.GenericSchema>;

const entries = {
  listen: v.optional(placeSchema),
  tokens: v.optional(tokensSchema),
  read: v.optional(v.picklist(ADMIN_READERS, mustBe(oneOf(ADMIN_READERS)))),
  hosts: v.optional(v.array(nameSchema, mustBe("an array of host names"))),
  readyz: v.optional(optionsObject(readyzEntries, 'an object with "pools" and "minServers"')),
} satisfies Record<keyof AdminOptions, v.GenericSchema>;

const EXPECTED = `${PLACE}, true, false or an object with "listen", "tokens", "read", "hosts" and "readyz"`;

const PUBLIC = 'must have "tokens" to listen where others than this machine can reach it';

const optionsSchema = v.pipe(
  optionsObject(entries, EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    const { listen, tokens, read } = value as AdminOptions;
    const place = parseAdminListen(listen);
    const isPublic = place !== undefined && !isPrivatePlace(place);
    const hasTokens = isRecord(tokens) && Object.keys(tokens).length > 0;
    const at = [pathItem(value, "read")] as const;
    if (isPublic && !hasTokens) return addIssue({ message: PUBLIC });
    if (isPublic && read === "anyone") {
      addIssue({ message: 'must be "token" where others than this machine can reach it', path: [...at] });
    }
    if (read === "token" && !hasTokens) {
      addIssue({ message: 'must not be "token" without "tokens"', path: [...at] });
    }
  }),
);

const textSchema = v.pipe(
  v.custom<unknown>(
    (value) =>
      typeof value === "boolean" || (typeof value !== "object" && parseAdminListen(value) !== undefined),
    mustBe(EXPECTED),
  ),
  v.rawCheck(({ dataset: { value, typed }, addIssue }) => {
    if (!typed || typeof value === "boolean") return;
    const place = parseAdminListen(value);
    if (place !== undefined && !isPrivatePlace(place)) addIssue({ message: PUBLIC });
  }),
);

/** A place, or the options. */
export const adminSchema: v.GenericSchema = v.lazy((input) => isRecord(input) ? optionsSchema : textSchema);

/** Finds pools that the readiness rests on and that are not there. */
export function checkAdminPools(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config) || !isRecord(config.admin) || !isRecord(config.admin.readyz)) return;
  const { admin, upstreams } = config;
  const { readyz } = admin as Record<string, Record<string, unknown>>;
  const pools = poolNames(upstreams);
  if (pools === null || !Array.isArray(readyz!.pools)) return;
  readyz!.pools.forEach((name: unknown, i) => {
    if (typeof name !== "string" || pools.includes(name)) return;
    const expected = pools.map((pool) => `"${pool}"`).join(", ");
    addIssue({
      message: `must be a pool, one of ${expected}, received ${describeValue(name)}`,
      path: [
        pathItem(config, "admin"),
        pathItem(admin, "readyz"),
        pathItem(readyz, "pools"),
        pathItem(readyz!.pools, i),
      ],
    });
  });
}
