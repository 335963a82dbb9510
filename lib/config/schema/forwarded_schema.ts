/** The rules of what is believed of other proxies, and told to servers. */

import { choose, FLAG, isRecord, list, must, object, required, type Rule, word } from "../../core/options.ts";
import type { ForwardedOptions } from "../../http/forwarded.ts";
import {
  expectedTrustedProxy,
  TRUSTED_FIELDS,
  type TrustedProxiesOptions,
} from "../../http/trusted_proxies.ts";

const EXPECTED = 'an array of addresses, networks, "loopback", "private" or "unix"';
const NETWORK: Rule = must(
  (value) => expectedTrustedProxy(value) === undefined,
  (value) => expectedTrustedProxy(value) ?? "",
);

/** Addresses and networks of proxies. */
export const NETWORKS: Rule = list(NETWORK, EXPECTED);

const TRUSTED_OBJECT = object<TrustedProxiesOptions>({
  from: required(NETWORKS),
  field: word(TRUSTED_FIELDS),
}, 'an object with "from"');
const TRUSTED_ARRAY = list(NETWORK, `${EXPECTED}, or an object of them as "from", and of the "field"`);

/** Proxies that are trusted. */
export const TRUSTED_PROXIES: Rule = choose((value) => isRecord(value) ? TRUSTED_OBJECT : TRUSTED_ARRAY);

/** Which fields tell servers who asked. */
export const FORWARDED: Rule = object<ForwardedOptions>(
  { xForwarded: FLAG, forwarded: FLAG, via: FLAG, cdnLoop: FLAG, clientCert: FLAG },
  'an object with "xForwarded", "forwarded", "via", "cdnLoop" or "clientCert"',
);
