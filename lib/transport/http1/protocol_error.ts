/** The one failure that reading a response may end in. */

import { UpstreamError } from "../../core/errors.ts";

/** Makes the error for a response that breaks HTTP; `found` says what was wrong with it. */
export function protocolError(found: string): UpstreamError {
  return new UpstreamError(`Cannot read the response: ${found}`, {
    code: "http_protocol_error",
    phase: "answered",
  });
}
