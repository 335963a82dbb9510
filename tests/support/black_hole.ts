/** An address that neither accepts nor refuses connections. */

import { connectTcp } from "../../lib/transport/http1/dial.ts";

/** Timeout of a connection on loopback, and the number of consecutive timeouts that prove a full backlog. */
const PATIENCE_MS = 200;
const ENOUGH = 3;

/** A listener with a full backlog, so that the kernel drops further connections. */
export class BlackHole implements Disposable {
  readonly #listener: Deno.TcpListener;
  readonly #waiting: Deno.Conn[];

  constructor(listener: Deno.TcpListener, waiting: Deno.Conn[]) {
    this.#listener = listener;
    this.#waiting = waiting;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  [Symbol.dispose](): void {
    for (const conn of this.#waiting) conn.close();
    this.#listener.close();
  }
}

/** Makes an address at which connecting hangs; `null` if the backlog of the kernel is too large. */
export async function blackHole(limit = 5000): Promise<BlackHole | null> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const waiting: Deno.Conn[] = [];
  const hole = new BlackHole(listener, waiting);
  for (let inVain = 0; waiting.length < limit;) {
    const controller = new AbortController();
    const patience = setTimeout(() => controller.abort(), PATIENCE_MS);
    try {
      waiting.push(await connectTcp("127.0.0.1", listener.addr.port, controller.signal));
      inVain = 0;
    } catch {
      if (++inVain === ENOUGH) return hole;
    } finally {
      clearTimeout(patience);
    }
  }
  hole[Symbol.dispose]();
  return null;
}
