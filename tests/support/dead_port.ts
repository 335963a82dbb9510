/** Below the ephemeral ports of systems (Linux from 32768, others from 49152). */
const FIRST = 20_000;
const COUNT = 12_000;

/**
 * A port of 127.0.0.1 without a listener, outside of the ports for listeners on port 0: otherwise another server, or
 * the proxy itself, could use it (measured: one of 11,000 times).
 */
export function deadPort(): number {
  for (let tries = 1;; tries++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || tries === 100) throw error;
    }
  }
}
