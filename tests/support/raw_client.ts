/** A client whose every byte the test decides. */

import { RawConnection } from "./raw_connection.ts";

/** Connects to a server on loopback; `using` closes it. */
export async function rawClient(port: number): Promise<RawConnection> {
  return new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
}
