/** An upstream server with a certificate of the test authority. */

import { startUpstream, type Upstream, type UpstreamOptions } from "./start_upstream.ts";
import { testCa } from "./test_ca.ts";

/** What {@linkcode tlsUpstream} takes in addition to the options of any upstream. */
export interface TlsUpstreamOptions extends Omit<UpstreamOptions, "tls"> {
  /** Names in the certificate. @default {["one.one.one.one"]} */
  names?: readonly string[];
}

/** Starts an upstream that speaks TLS; clients trust it by `(await testCa()).cert`. */
export async function tlsUpstream(options: TlsUpstreamOptions = {}): Promise<Upstream> {
  const { names = ["one.one.one.one"], ...rest } = options;
  const ca = await testCa();
  return startUpstream({ ...rest, tls: await ca.issue({ names }) });
}
