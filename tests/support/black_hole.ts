/** An address that neither accepts nor refuses connections. */

/** How long a connection on loopback may take before the backlog counts as full. */
const PATIENCE_MS = 300;

/** A listener whose backlog is full, so that the kernel drops what arrives for it. */
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

/** Makes an address to which connecting hangs; `null` where the kernel has too much room. */
export async function blackHole(limit = 5000): Promise<BlackHole | null> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const waiting: Deno.Conn[] = [];
  const hole = new BlackHole(listener, waiting);
  while (waiting.length < limit) {
    const controller = new AbortController();
    const patience = setTimeout(() => controller.abort(), PATIENCE_MS);
    try {
      const { signal } = controller;
      waiting.push(await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port, signal }));
    } catch {
      return hole;
    } finally {
      clearTimeout(patience);
    }
  }
  hole[Symbol.dispose]();
  return null;
}
