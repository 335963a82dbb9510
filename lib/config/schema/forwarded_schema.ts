/** The schemas of what is believed of other proxies, and told to servers. */

import * as v from "valibot";
import type { ForwardedOptions } from "../../http/forwarded.ts";
import {
  expectedTrustedProxy,
  TRUSTED_FIELDS,
  type TrustedProxiesOptions,
} from "../../http/trusted_proxies.ts";
import { isRecord, mustBe, oneOf, optionsObject } from "./schemas.ts";

const NETWORKS = 'an array of addresses, networks, "loopback", "private" or "unix"';

/** Addresses and networks of proxies. */
export const networksSchema = (expected: string = NETWORKS): v.GenericSchema =>
  v.array(
    v.custom<string>(
      (value) => expectedTrustedProxy(value) === undefined,
      (issue) => mustBe(expectedTrustedProxy(issue.input) ?? "")(issue),
    ),
    mustBe(expected),
  );

const trustedEntries = {
  from: networksSchema(),
  field: v.optional(v.picklist(TRUSTED_FIELDS, mustBe(oneOf(TRUSTED_FIELDS)))),
} satisfies Record<keyof TrustedProxiesOptions, v.GenericSchema>;
const trustedObjectSchema = optionsObject(trustedEntries, 'an object with "from"');
const trustedArraySchema = networksSchema(`${NETWORKS}, or an object of them as "from", and of the "field"`);

/** Proxies that are trusted. */
export const trustedProxiesSchema: v.GenericSchema = v.lazy((input) =>
  isRecord(input) ? trustedObjectSchema : trustedArraySchema
);

const flagSchema = v.optional(v.boolean(mustBe("true or false")));

const entries = {
  xForwarded: flagSchema,
  forwarded: flagSchema,
  via: flagSchema,
  cdnLoop: flagSchema,
  clientCert: flagSchema,
} satisfies Record<keyof ForwardedOptions, v.GenericSchema>;

/** Which fields tell servers who asked. */
export const forwardedSchema: v.GenericSchema = optionsObject(
  entries,
  'an object with "xForwarded", "forwarded", "via", "cdnLoop" or "clientCert"',
);
