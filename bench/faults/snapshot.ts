/** Checks that a proxy counts nothing as running after the load has ended. */

/** Gauges of `/metrics` that are zero without requests. */
const GAUGES = [
  "lbproxy_requests_in_flight",
  "lbproxy_overload_queue_length",
  "lbproxy_websockets_open",
  "lbproxy_upstream_in_flight",
  "lbproxy_upstream_queue_length",
  "lbproxy_listener_connections",
] as const;
const PATIENCE_MS = 5000;
const LOOK_EVERY_MS = 100;

/**
 * What is left of requests: gauges of `/metrics` that are not zero, and permits of the policy that were not released. Empty
 * if nothing is left. Retries for a few seconds, because requests may still be running.
 */
export async function leftOver(adminPort: number, port: number, policy: boolean): Promise<string[]> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const left = [...await gaugesLeft(adminPort), ...(policy ? await permitsLeft(port) : [])];
    if (left.length === 0 || performance.now() > until) return left;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Series of gauges with a value other than zero, also below zero. */
export async function gaugesLeft(adminPort: number): Promise<string[]> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  return text.split("\n").filter((line) =>
    GAUGES.some((name) => line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && !/ 0$/.test(line)
  );
}

/** Permits that are still held, without that of the request that measures. */
async function permitsLeft(port: number): Promise<string[]> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } })
    .catch(() => null);
  if (response === null) return ["it cannot be connected to"];
  await response.body?.cancel();
  const number = (name: string) => Number(response.headers.get(`x-ratelimit-${name}`));
  const held = number("limit") - number("remaining") - 1;
  return held === 0 ? [] : [`permits ${held}`];
}
