/** What becomes of a request to a hostile server. */

import { latin1Text } from "../support/raw_connection.ts";
import type { TestProxy } from "../support/start_proxy.ts";

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
