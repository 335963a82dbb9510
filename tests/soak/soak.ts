/**
 * The proxy for a long time, with clients and servers that do whatever they may at a seed: whether every request is settled
 * once, no count is ever below zero, all counts are zero in the end, and the memory stays where it was after a
 * minute. Where the machine is busy with other things, it goes on until there were as many requests as a free one serves.
 *
 * `deno task soak [minutes] [seed] [http1|deno] [leak]`, both engines one after the other unless one is named. `leak` is how many
 * bytes the proxy keeps of each request on purpose, to see that this is found: 2048 has to fail within three minutes.
 */

import { seededRandom } from "../../lib/core/random.ts";
import { TextLineStream } from "../support/text_lines.ts";
import { runClient, runSteadyClient, Seen } from "./clients.ts";
import type { Counts } from "./proxied.ts";
import { MoodyServer, RudeServer } from "./servers.ts";

const DEFAULT_MINUTES = 15;
const ENGINES = ["http1", "deno"] as const;
const CLIENTS = 24;
const STEADY_CLIENTS = 8;
const SERVERS = 3;
const LOOK_EVERY_MS = 2000;
/** How long requests, idle connections and WebSockets may take to end once all clients are gone. */
const SETTLE_MS = 60_000;
/**
 * Around which moment, and at the end, memory is looked at, and how much more there may be then: after a minute, and how many requests
 * there have to be by then, and from then on. A free machine serves as many in half a minute.
 */
const LEVEL_AT_MS = 60_000;
const LEVEL_AT_REQUESTS = 15_000;
const REQUESTS_BEHIND = 25_000;
/** How many times as long as it was told it goes on at most, for want of requests. */
const MOST_TIMES = 4;
const SPAN_MS = 20_000;
const MOST_GROWTH = 1.2;
/** After how long without clients memory is looked at once more. */
const AFTER_MS = 15_000;

/** What a soak came to. */
export interface SoakResult {
  readonly counts: Counts;
  readonly seen: Seen;
  /** What is not as it should be. */
  readonly findings: readonly string[];
  /** Memory in MiB after a minute, in the end, at most, and once the clients have been gone for a while; `null` when there were too few requests. */
  readonly memory: SoakMemory | null;
}

/** See {@linkcode SoakResult.memory}. */
interface SoakMemory {
  readonly level: number;
  readonly end: number;
  readonly most: number;
  readonly after: number;
}

/** How long a soak takes: so long, and until clients have had so many responses. */
export interface SoakLength {
  readonly ms: number;
  readonly responses?: number;
  /** How many bytes the proxy keeps of each request. @default 0 */
  readonly leak?: number;
}

/** Runs it. */
export async function soak(
  engine: typeof ENGINES[number],
  { ms, responses = 0, leak = 0 }: SoakLength,
  seed: number,
  say: (line: string) => void = () => {},
): Promise<SoakResult> {
  const startedAt = performance.now();
  const seen = new Seen();
  const samples: Sample[] = [];
  const judgesMemory = ms >= 2 * LEVEL_AT_MS;
  const isOver = (): boolean => {
    const at = performance.now() - startedAt;
    if (at < ms || seen.responses < responses) return false;
    return !judgesMemory || at >= MOST_TIMES * ms || hasEnough(samples);
  };
  const chance = (n: number) => ({ random: seededRandom(seed + n), isOver });
  await using stack = new AsyncDisposableStack();
  const moody = Array.from({ length: SERVERS }, (_, i) => stack.use(new MoodyServer(chance(i))));
  const rude = stack.use(await RudeServer.start(chance(SERVERS)));
  const good = stack.use(new MoodyServer(chance(SERVERS + 1)));
  const servers = [good, rude, ...moody].map(({ address }) => address);
  const proxied = stack.use(await Proxied.start(engine, leak, servers));
  const findings = new Set<string>();
  const look = async (): Promise<Counts> => {
    const counts = await proxied.look();
    for (const line of counts.negative) findings.add(`below zero: ${line}`);
    for (const error of counts.errors) findings.add(`thrown: ${error}`);
    if (counts.settled > counts.begun) findings.add(`${counts.settled} requests settled of ${counts.begun}`);
    const { begun, memory: { rss } } = counts;
    const sample = { at: performance.now() - startedAt, begun, mib: rss / 2 ** 20 };
    if (!isOver()) samples.push(sample);
    if (samples.length % 15 === 0) {
      const { heapUsed, heapTotal, external } = counts.memory;
      const [used, total, outside] = [heapUsed, heapTotal, external].map((bytes) =>
        Math.round(bytes / 2 ** 20)
      );
      say(
        `${Math.round(sample.at / 1000)} s: ${counts.begun} requests, ${Math.round(sample.mib)} MiB` +
          ` (heap ${used} of ${total}, external ${outside}), ${counts.descriptors} descriptors`,
      );
    }
    return counts;
  };
  const watching = (async () => {
    while (!isOver()) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_EVERY_MS, ms / 4)));
    }
  })();
  const { port } = proxied;
  const clients = Array.from({ length: CLIENTS }, (_, i) => runClient(port, chance(100 + i), seen));
  const steady = Array.from(
    { length: STEADY_CLIENTS },
    (_, i) => runSteadyClient(port, chance(200 + i), seen),
  );
  await Promise.all([...clients, ...steady, ...moody.map((server) => server.run()), watching]);
  let counts = await look();
  const isSettled = () =>
    counts.begun === counts.settled && Object.values(counts.running).every((count) => count === 0);
  for (const until = performance.now() + SETTLE_MS; !isSettled() && performance.now() < until;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    counts = await look();
  }
  if (counts.begun !== counts.settled) findings.add(`${counts.settled} requests settled of ${counts.begun}`);
  if (counts.twice > 0) findings.add(`${counts.twice} requests settled twice`);
  for (const [series, count] of Object.entries(counts.running)) {
    if (count !== 0) findings.add(`left: ${series} ${count}`);
  }
  for (const request of seen.hung) findings.add(`no response: ${request}`);
  let memory: SoakMemory | null = null;
  if (judgesMemory && !hasEnough(samples)) findings.add(`memory: ${counts.begun} requests show nothing`);
  else if (judgesMemory) {
    const under = memoryOf(samples);
    await new Promise((resolve) => setTimeout(resolve, AFTER_MS));
    memory = { ...under, after: Math.round((await look()).memory.rss / 2 ** 20) };
    const { level, end, after } = memory;
    if (Math.max(end, after) > level * MOST_GROWTH) {
      findings.add(`memory: ${level} MiB at first, ${end} in the end, ${after} after it`);
    }
  }
  return { counts, seen, findings: [...findings], memory };
}

/** Memory at a moment, in milliseconds from the start, and how many requests there had been. */
interface Sample {
  readonly at: number;
  readonly begun: number;
  readonly mib: number;
}

/** The first look at memory that is at its level. */
function levelOf(samples: readonly Sample[]): Sample | undefined {
  return samples.find(({ at, begun }) => at >= LEVEL_AT_MS && begun >= LEVEL_AT_REQUESTS);
}

/** Whether there were enough requests to tell whether memory grows. */
function hasEnough(samples: readonly Sample[]): boolean {
  const level = levelOf(samples);
  return level !== undefined && samples.at(-1)!.begun >= level.begun + REQUESTS_BEHIND;
}

function memoryOf(samples: readonly Sample[]): Omit<SoakMemory, "after"> {
  const levelAt = levelOf(samples)!.at;
  const mean = (from: number, to: number): number => {
    const those = samples.filter(({ at }) => at >= from && at <= to);
    return Math.round(those.reduce((sum, { mib }) => sum + mib, 0) / those.length);
  };
  const endAt = samples.at(-1)!.at;
  return {
    level: mean(levelAt - SPAN_MS / 2, levelAt + SPAN_MS / 2),
    end: mean(endAt - SPAN_MS, endAt),
    most: Math.round(Math.max(...samples.map(({ mib }) => mib))),
  };
}

/** The process of the proxy. */
class Proxied implements AsyncDisposable {
  readonly port: number;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: ReadableStreamDefaultReader<string>;

  private constructor(
    child: Deno.ChildProcess,
    lines: ReadableStreamDefaultReader<string>,
    port: number,
  ) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#lines = lines;
    this.port = port;
  }

  static async start(engine: string, leak: number, servers: readonly string[]): Promise<Proxied> {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        `${import.meta.dirname}/proxied.ts`,
        engine,
        String(leak),
        ...servers,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
      .getReader();
    const { value } = await lines.read();
    if (value === undefined) throw new Error("The proxy of the soak has not started");
    return new Proxied(child, lines, (JSON.parse(value) as { port: number }).port);
  }

  /** What it has counted. */
  async look(): Promise<Counts> {
    await this.#input.write(new TextEncoder().encode("\n"));
    const { value } = await this.#lines.read();
    if (value === undefined) throw new Error("The proxy of the soak has ended");
    return JSON.parse(value) as Counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#lines.cancel();
    await this.#child.status;
  }
}

if (import.meta.main) {
  const [minutes = DEFAULT_MINUTES, seed = Math.floor(Math.random() * 2 ** 31)] = Deno.args.slice(0, 2).map(
    Number,
  );
  const leak = Number(Deno.args[3] ?? 0);
  // deno-lint-ignore no-console
  const say = console.log;
  let failed = false;
  for (const engine of ENGINES.filter((name) => Deno.args[2] === undefined || name === Deno.args[2])) {
    say(`${engine}, ${minutes} minutes: deno task soak ${minutes} ${seed} ${engine}`);
    const { counts, seen, findings, memory } = await soak(engine, { ms: minutes * 60_000, leak }, seed, say);
    const { begun, settled, entries, statuses, events } = counts;
    say(`${begun} requests, ${settled} settled, ${entries} lines of the access log`);
    say(`statuses: ${JSON.stringify(statuses)}; events: ${JSON.stringify(events)}`);
    say(`clients: ${JSON.stringify(seen.counts)}`);
    if (memory !== null) {
      say(
        `memory: ${memory.level} MiB at first, ${memory.end} in the end, ${memory.most} at most, ${memory.after} after it`,
      );
    }
    for (const finding of findings) say(`FINDING ${finding}`);
    failed ||= findings.length > 0;
  }
  // A WebSocket that never opened would keep the program running (Deno 2.9.6).
  Deno.exit(failed ? 1 : 0);
}
