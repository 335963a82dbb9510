/** Which fields may come behind the content of a message (RFC 9110 section 6.5.1). */

import { isForwardedField } from "./forwarded.ts";
import { isHopByHop } from "./hop_by_hop.ts";

/**
 * Fields that decide about framing, routing, authentication, caching or how to read the content. A server that takes
 * trailer fields for fields of the head would believe what nothing has checked.
 */
const HEAD_ONLY: ReadonlySet<string> = new Set([
  ..."content-length host expect max-forwards cache-control pragma range if-match if-none-match".split(" "),
  ..."if-modified-since if-unmodified-since if-range authorization www-authenticate cookie set-cookie".split(
    " ",
  ),
  ..."authentication-info proxy-authentication-info content-encoding content-type content-range".split(" "),
  ..."content-language content-location content-disposition age date expires last-modified location".split(
    " ",
  ),
  ..."retry-after vary warning origin referer via x-real-ip accept-ranges allow alt-svc clear-site-data"
    .split(" "),
  ..."strict-transport-security content-security-policy x-content-type-options x-frame-options".split(" "),
  ..."close early-data refresh x-http-method-override x-http-method x-method-override x-original-url x-rewrite-url"
    .split(" "),
]);

/** Whether a trailer field may be passed on. The name is in lower case. */
export function mayBeTrailer(name: string): boolean {
  // Behind CGI and its heirs an underscore is a dash.
  const plain = name.includes("_") ? name.replaceAll("_", "-") : name;
  return !HEAD_ONLY.has(plain) && !isHopByHop(plain) && !isForwardedField(plain) &&
    !plain.startsWith("access-control-") && !plain.startsWith("sec-");
}
