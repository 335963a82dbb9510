/** Fields between our list and what `fetch` makes of them. */

import { HeaderFields } from "../../http/header_fields.ts";

/**
 * The fields to give to `fetch` for a request.
 *
 * - Framing is left to `fetch`: a `transfer-encoding` given here would be sent as well as its own.
 * - `fetch` decodes compressed answers unless the *first* `accept-encoding` line is `identity`, so that line goes in
 *   front of the client's own, and the server still sees what the client accepts.
 * - `fetch` adds a `user-agent` of its own unless there is one; an empty one is the closest to none.
 *
 * @param hostInUrl whether the server learns the host from the URL, so that `host` would say it twice
 */
export function toFetchFields(fields: HeaderFields, hostInUrl = false): [string, string][] {
  const list = fields.toList();
  const pairs: [string, string][] = [["accept-encoding", "identity"]];
  let userAgent = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name === "content-length" || name === "transfer-encoding") continue;
    if (hostInUrl && name === "host") continue;
    if (name === "user-agent") userAgent = true;
    pairs.push([name, list[i + 1]!]);
  }
  if (!userAgent) pairs.push(["user-agent", ""]);
  return pairs;
}

/**
 * The fields of an answer; `fetch` has sorted them and joined repetitions except for `set-cookie`.
 *
 * It takes a length that is there several times when it is the same (RFC 9110 section 8.6); one of them goes on.
 */
export function fromFetchFields(headers: Headers): HeaderFields {
  const list: string[] = [];
  for (const [name, value] of headers) {
    if (name === "content-length") list.push(name, value.split(",", 1)[0]!.trimEnd());
    else if (name !== "transfer-encoding") list.push(name, value);
  }
  return HeaderFields.adopt(list);
}
