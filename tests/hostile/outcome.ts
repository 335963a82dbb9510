/** What becomes of a request to a hostile server. */

import { assertEquals } from "@std/assert";
import { latin1Text } from "../support/raw_connection.ts";
import type { TestProxy } from "../support/start_proxy.ts";
import { TEST_WORKERS } from "../support/test_workers.ts";
import { untilTrue } from "../support/until_still.ts";

/** What the client of one request sees: the status and the whole content, or that the connection broke. */
export async function outcomeOf(proxy: TestProxy): Promise<{ status: number; text: string } | "broken"> {
  using connection = await proxy.connect();
  await connection.write("GET /hostile HTTP/1.1\r\nHost: h\r\n\r\n");
  try {
    for (;;) {
      const { status, body } = await connection.readResponse();
      if (status >= 200) return { status, text: latin1Text(body) };
    }
  } catch {
    return "broken";
  }
}

/** No request counts any more at the one server of the proxy; a worker counts it off a moment after its client has the response. */
export async function nothingInFlight(proxy: TestProxy): Promise<void> {
  const count = (): number => proxy.servers[0]!.inFlight;
  if (TEST_WORKERS > 1) await untilTrue("nothing is in flight", () => count() === 0);
  assertEquals(count(), 0);
}
