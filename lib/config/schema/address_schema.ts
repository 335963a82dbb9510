/** The schema of a server's address. */

import * as v from "valibot";
import { ADDRESS_EXPECTED, parseAddress } from "../../upstream/address.ts";
import { isBrokenIpv4 } from "../broken_ipv4.ts";
import { mustBe } from "./messages.ts";

/** Says what an address has to look like, with the hint that fits what was written; `undefined` when it is good. */
function expectedAddress(text: string): string | undefined {
  const parsed = parseAddress(text);
  if (parsed !== undefined) {
    const { address } = parsed;
    if (address.kind === "tcp" && isBrokenIpv4(address.hostname)) {
      return `${ADDRESS_EXPECTED} with a whole IPv4 address or a name`;
    }
    return undefined;
  }
  if (text.startsWith("unix:")) return '"unix:/path" with an absolute path';
  const port = /:(\d+)\/?$/.exec(text);
  if (port !== null && (Number(port[1]) < 1 || Number(port[1]) > 65535)) {
    return `${ADDRESS_EXPECTED} with a port from 1 to 65535`;
  }
  if (/^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*$/.test(text)) {
    return `${ADDRESS_EXPECTED} with an IPv6 address in brackets ("[::1]:80")`;
  }
  const scheme = /^([A-Za-z][\w+.-]*):\/\//.exec(text)?.[1];
  if (scheme !== undefined && scheme !== "http" && scheme !== "https") {
    return `${ADDRESS_EXPECTED}, "http://..." or "https://..."`;
  }
  if (/^https?:\/\/[^/]*@/.test(text)) return `${ADDRESS_EXPECTED} without user name and password`;
  if (/^(?:https?:\/\/)?[^/]+\//.test(text)) return `${ADDRESS_EXPECTED} without a path`;
  return ADDRESS_EXPECTED;
}

/** `"host:port"`, with or without scheme, or `"unix:/path"`. */
export const addressSchema = v.pipe(
  v.string(mustBe(ADDRESS_EXPECTED)),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const expected = expectedAddress(dataset.value);
    if (expected !== undefined) addIssue({ message: mustBe(expected)({ input: dataset.value }) });
  }),
);
