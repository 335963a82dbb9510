import { closeQuietly } from "./close_quietly.ts";
import { PATIENCE_MS } from "./recorder.ts";

/** Resolves when a port of 127.0.0.1 refuses connections; the runtime closes a listener with a short delay. */
export async function untilRefused(port: number): Promise<void> {
  for (const endAt = Date.now() + PATIENCE_MS; Date.now() < endAt;) {
    try {
      closeQuietly(await Deno.connect({ hostname: "127.0.0.1", port }));
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return;
      // Accepted by the system, and reset with the listener before the program or this test has used it.
      const { ConnectionReset, NotConnected } = Deno.errors;
      if (!(error instanceof ConnectionReset || error instanceof NotConnected)) throw error;
    }
  }
  throw new Error(`Port ${port} still takes connections`);
}
