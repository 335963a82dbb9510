/** An upstream server with a certificate of the test authority. */

import { startUpstream, type Upstream, type UpstreamOptions } from "./start_upstream.ts";
import { testCa } from "./test_ca.ts";

/** Options of {@linkcode tlsUpstream} in addition to those of any upstream. */
export interface TlsUpstreamOptions extends Omit<UpstreamOptions, "tls"> {
  /** Names in the certificate. @default {["one.one.one.one"]} */
  names?: readonly string[];
}

/** Starts an upstream with TLS; clients trust it by `(await testCa()).cert`. */
export async function tlsUpstream(options: TlsUpstreamOptions = {}): Promise<Upstream> {
  const { names = ["one.one.one.one"], ...rest } = options;
  const ca = await testCa();
  return startUpstream({ ...rest, tls: await ca.issue({ names }) });
}
