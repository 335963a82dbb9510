/** Settings of the harness for a configuration. */

/** Address to listen at. */
export const listen: string = Deno.env.get("BENCH_LISTEN") ?? "127.0.0.1:6188";
/** Addresses of the servers. */
export const servers: string[] = (Deno.env.get("BENCH_SERVERS") ?? "127.0.0.1:9001").split(",");
