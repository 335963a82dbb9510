/** What the harness tells a configuration. */

/** Where to listen. */
export const listen: string = Deno.env.get("BENCH_LISTEN") ?? "127.0.0.1:6188";
/** The servers. */
export const servers: string[] = (Deno.env.get("BENCH_SERVERS") ?? "127.0.0.1:9001").split(",");
