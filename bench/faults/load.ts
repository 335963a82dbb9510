/** The load, by wrk: idempotent requests, a few milliseconds apart, and their results. */

/** Amount and duration of the load. */
export interface FaultLoad {
  readonly connections: number;
  readonly seconds: number;
}

/** The results for clients. */
export interface FaultLoadResult {
  readonly requests: number;
  /** Responses with another status than 200. */
  readonly refused: number;
  /** Connections that were closed before the response. */
  readonly broken: number;
  /** Connections that could not be opened. */
  readonly unconnected: number;
  /** Requests without a response after {@linkcode PATIENCE_SECONDS}. */
  readonly hung: number;
  readonly longestMs: number;
}

/** Pause of a connection between two requests, in milliseconds, so that the machine has time for the proxy. */
const PAUSE_MS = 10;
const PATIENCE_SECONDS = 20;

const SCRIPT = `
function delay() return ${PAUSE_MS} end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"refused":%d,"broken":%d,"unconnected":%d,"hung":%d,"longestMs":%.1f}\\n',
    summary.requests, e.status, e.read + e.write, e.connect, e.timeout, latency.max / 1000))
end
`;

/** Loads a port with wrk. */
export async function runFaultLoad(
  port: number,
  { connections, seconds }: FaultLoad,
  directory: string,
): Promise<FaultLoadResult> {
  const script = `${directory}/faults.lua`;
  await Deno.writeTextFile(script, SCRIPT);
  const { stdout, stderr } = await new Deno.Command("wrk", {
    args: [
      "-t1",
      `-c${connections}`,
      `-d${seconds}s`,
      "--timeout",
      `${PATIENCE_SECONDS}s`,
      "-s",
      script,
      `http://127.0.0.1:${port}/`,
    ],
  }).output();
  const text = new TextDecoder().decode(stdout);
  const line = text.split("\n").find((each) => each.startsWith("RESULT "));
  if (line === undefined) throw new Error(`wrk failed: ${text}${new TextDecoder().decode(stderr)}`);
  return JSON.parse(line.slice("RESULT ".length)) as FaultLoadResult;
}

/**
 * Loads a port with a client of this project, for a proxy that ends: wrk does not distinguish a connection that was closed
 * before the response from one that is not accepted, which is correct if no proxy listens any more.
 */
export async function runOwnLoad(
  port: number,
  { connections, seconds }: FaultLoad,
): Promise<FaultLoadResult> {
  const until = performance.now() + seconds * 1000;
  const result = { requests: 0, refused: 0, broken: 0, unconnected: 0, hung: 0, longestMs: 0 };
  await Promise.all(Array.from({ length: connections }, async () => {
    while (performance.now() < until) await runConnection(port, until, result);
  }));
  return { ...result, longestMs: Math.round(result.longestMs * 10) / 10 };
}

type Counts = { -readonly [Name in keyof FaultLoadResult]: FaultLoadResult[Name] };

const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

async function runConnection(port: number, until: number, result: Counts): Promise<void> {
  let connection: Deno.Conn;
  try {
    connection = await Deno.connect({ hostname: "127.0.0.1", port });
  } catch {
    result.unconnected++;
    return await pause();
  }
  using _connection = connection;
  while (performance.now() < until) {
    const startedAt = performance.now();
    const head = await ask(connection).catch(() => null);
    result.longestMs = Math.max(result.longestMs, performance.now() - startedAt);
    if (head === null) {
      result.broken++;
      return;
    }
    result.requests++;
    if (!head.startsWith("HTTP/1.1 200")) result.refused++;
    if (/\r\nconnection: close\r\n/i.test(head)) return;
    await pause();
  }
}

/** Reads head and content of a short response with a length; `null` if the connection ended earlier. */
async function ask(connection: Deno.Conn): Promise<string | null> {
  for (let rest = REQUEST; rest.length > 0;) rest = rest.subarray(await connection.write(rest));
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) return null;
    text += new TextDecoder().decode(buffer.subarray(0, count));
    const end = text.indexOf("\r\n\r\n");
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
    if (end >= 0 && text.length >= end + 4 + length) return text;
  }
}
