/** A request of `Deno.serve` as limits see it. */

import { readTarget } from "../http/request_target.ts";
import type { KeySource } from "../limiter/key_spec.ts";

/** What the functions of a policy are handed by a {@linkcode RateLimiter} of one's own. */
export class ServeSource implements KeySource {
  /** The request. */
  readonly request: Request;
  /** Address of the client as the runtime knows it; `""` without one. */
  readonly clientIp: string;
  /** Status of the response; 0 before there is one. */
  status = 0;
  #parts: ReturnType<typeof readTarget> | null = null;

  /** @internal */
  constructor(request: Request, info?: Pick<Deno.ServeHandlerInfo, "remoteAddr">) {
    this.request = request;
    const address = info?.remoteAddr;
    this.clientIp = address !== undefined && "hostname" in address ? address.hostname : "";
  }

  /** Path and query as they stand in the URL of the request. */
  get target(): string {
    return this.#read().target;
  }

  /** The `Host` of the request. */
  get host(): string {
    return this.#read().host;
  }

  #read(): ReturnType<typeof readTarget> {
    return this.#parts ??= readTarget(this.request.url, this.request.headers.get("host"), "");
  }
}
