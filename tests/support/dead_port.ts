/** Below the ports that systems give out by themselves (Linux from 32768 on, others from 49152). */
const FIRST = 20_000;
const COUNT = 12_000;

/**
 * A port of 127.0.0.1 on which nothing listens, and that nobody gets who listens on port 0: else another server, or the
 * proxy itself, would be there now and then (measured: one of 11,000 times).
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
