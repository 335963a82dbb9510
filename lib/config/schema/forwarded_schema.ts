/** The schemas of what is believed of other proxies, and told to servers. */

import * as v from "valibot";
import type { ForwardedOptions } from "../../http/forwarded.ts";
import { expectedTrustedProxy } from "../../http/trusted_proxies.ts";
import { mustBe } from "./messages.ts";
import { optionsObject } from "./options_object.ts";

/** Proxies that are trusted. */
export const trustedProxiesSchema: v.GenericSchema = v.array(
  v.custom<string>(
    (value) => expectedTrustedProxy(value) === undefined,
    (issue) => mustBe(expectedTrustedProxy(issue.input) ?? "")(issue),
  ),
  mustBe('an array of addresses, networks, "loopback", "private" or "unix"'),
);

const flagSchema = v.optional(v.boolean(mustBe("true or false")));

const entries = {
  xForwarded: flagSchema,
  forwarded: flagSchema,
  via: flagSchema,
} satisfies Record<keyof ForwardedOptions, v.GenericSchema>;

/** Which fields tell servers who asked. */
export const forwardedSchema: v.GenericSchema = optionsObject(
  entries,
  'an object with "xForwarded", "forwarded" or "via"',
);
