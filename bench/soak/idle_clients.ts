/** Clients that have sent one request and stay connected. */

import { SCENARIOS } from "../proxy/scenarios.ts";

/** How many connect at the same time; more would only wait in the backlog of the listener. */
const AT_ONCE = 100;

/**
 * Connects clients; each requests the small response, and then is idle.
 *
 * @throws {Error} when file descriptors run out: both sides of each connection need one
 */
export async function holdIdleClients(port: number, count: number): Promise<Disposable> {
  const stack = new DisposableStack();
  try {
    for (let done = 0; done < count; done += AT_ONCE) {
      const clients = Array.from({ length: Math.min(AT_ONCE, count - done) }, () => askOnce(port));
      for (const client of await Promise.all(clients)) stack.defer(() => client.close());
    }
  } catch (cause) {
    stack.dispose();
    throw new Error(`Cannot hold ${count} clients; try it after "ulimit -n 65536"`, { cause });
  }
  return stack;
}

async function askOnce(port: number): Promise<Deno.TcpConn> {
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  const request = `GET ${SCENARIOS[0]!.path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
  await client.write(new TextEncoder().encode(request));
  const count = await client.read(new Uint8Array(4096));
  if (count === null) throw new Error("The proxy closed a connection");
  return client;
}
