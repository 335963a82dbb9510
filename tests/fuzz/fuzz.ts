/**
 * Feeds messages made by chance to the codec of HTTP/1.1 and to connections of the `http1` engine:
 * `deno task fuzz [inputs] [seed] [KIND]`, as many of each as connections of clients. Configurations, `Forwarded` and
 * `X-Forwarded-For`, targets, routes and structured fields follow, each beside a naive reader of the same.
 *
 * Each is read whole and cut, and both have to find the same; nothing but the error of whoever sent it may be thrown. Of
 * requests a second, naive parser has to say the same; of a connection also when content is not wanted, or let go of.
 */

import { seededRandom } from "../../lib/core/random.ts";
import { readNaively } from "../support/naive_request_parser.ts";
import { latin1Text } from "../support/raw_connection.ts";
import { type ContentUse, type HandledRequest, readByEngine } from "../support/read_by_engine.ts";
import { readInPieces } from "../support/read_in_pieces.ts";
import { type ReadRequest, readRequests } from "../support/read_requests.ts";
import { fuzzConfig } from "./fuzz_config.ts";
import { fuzzFields } from "./fuzz_fields.ts";
import { fuzzForwarded } from "./fuzz_forwarded.ts";
import { fuzzRoutes, fuzzTarget } from "./fuzz_paths.ts";
import { makeRequests } from "./make_request.ts";
import { makeCuts, makeResponse } from "./make_response.ts";

const DEFAULT_INPUTS = 100_000;
const KINDS = [
  ...["responses", "requests", "connections"] as const,
  ...["config", "forwarded", "targets", "routes", "fields"] as const,
];
const USES: readonly ContentUse[] = ["read", "ignore", "cancel", "leave"];
const METHODS = ["GET", "GET", "GET", "HEAD", "POST"] as const;

/** What so many inputs came to. */
export interface FuzzResult {
  /** How many ended each way. */
  outcomes: Record<string, number>;
  /** How many different reasons there were to refuse one. */
  reasons: number;
  /** How many messages were complete. */
  messages: number;
  /** The longest that one input took. */
  slowestMs: number;
}

/** What one input came to. */
export interface Ending {
  outcome: string;
  reason: string;
  messages: number;
}

/**
 * Runs so many inputs.
 *
 * @throws {Error} with the seed of the first input that was read in two ways, or broke a reader
 */
export async function fuzz(what: typeof KINDS[number], inputs: number, seed: number): Promise<FuzzResult> {
  const outcomes: Record<string, number> = {};
  const reasons = new Set<string>();
  let messages = 0;
  let slowestMs = 0;
  for (let index = 0; index < inputs; index++) {
    const begin = performance.now();
    const ending = what === "connections"
      ? await fuzzConnection(seed + index)
      : named(what, seed + index, FUZZERS[what]);
    slowestMs = Math.max(slowestMs, performance.now() - begin);
    outcomes[ending.outcome] = (outcomes[ending.outcome] ?? 0) + 1;
    reasons.add(ending.reason);
    messages += ending.messages;
  }
  return { outcomes, reasons: reasons.size, messages, slowestMs };
}

/** What runs one input of each kind, from its seed. */
const FUZZERS: Readonly<Record<Exclude<typeof KINDS[number], "connections">, (seed: number) => Ending>> = {
  responses: fuzzResponse,
  requests: fuzzRequests,
  config: fuzzConfig,
  forwarded: fuzzForwarded,
  targets: fuzzTarget,
  routes: fuzzRoutes,
  fields: fuzzFields,
};

function named(what: string, seed: number, run: (seed: number) => Ending): Ending {
  try {
    return run(seed);
  } catch (error) {
    throw new Error(`deno task fuzz 1 ${seed} ${what}: ${error}`, { cause: error });
  }
}

function fuzzResponse(seed: number): Ending {
  const random = seededRandom(seed);
  const bytes = makeResponse(random);
  const method = METHODS[Math.floor(random() * METHODS.length)]!;
  const cuts = makeCuts(random, bytes.length);
  return compared(`Seed ${seed}, ${method}`, bytes, cuts, () => {
    const whole = readInPieces(bytes, [], method);
    assertSame("whole", whole, "cut", readInPieces(bytes, cuts, method));
    const { outcome, message } = whole;
    return { outcome, reason: message, messages: outcome === "complete" ? 1 : 0 };
  });
}

function fuzzRequests(seed: number): Ending {
  const random = seededRandom(seed);
  const bytes = makeRequests(random);
  const cuts = makeCuts(random, bytes.length);
  return compared(`Seed ${seed}`, bytes, cuts, () => {
    const whole = readRequests(bytes);
    assertSame("whole", whole, "cut", readRequests(bytes, cuts));
    const { requests, end, message } = whole;
    assertSame("the codec", { requests, end }, "the naive parser", readNaively(latin1Text(bytes)));
    return { outcome: String(end), reason: message, messages: requests.length };
  });
}

async function fuzzConnection(seed: number): Promise<Ending> {
  const random = seededRandom(seed);
  const bytes = makeRequests(random);
  const cuts = makeCuts(random, bytes.length);
  const careless = random() < 0.5;
  const text = latin1Text(bytes);
  const uses: ContentUse[] = [];
  const { requests, end } = await readByEngine(text, cuts, () => {
    const use = careless ? USES[Math.floor(random() * USES.length)]! : "read";
    uses.push(use);
    return use;
  });
  return compared(`Seed ${seed}, ${uses}`, bytes, cuts, () => {
    const naive = readNaively(text);
    const expected = naive.requests.map((request, index) => asHandled(request, uses[index] ?? "read"));
    if (!careless) {
      assertSame("the engine", { requests, end }, "the naive parser", { requests: expected, end: naive.end });
    } else {
      // It may close where content is not wanted, and see the head of a request that never ends.
      const common = Math.min(requests.length, expected.length);
      assertSame("the engine", requests.slice(0, common), "the naive parser", expected.slice(0, common));
      if (requests.length > expected.length + 1) {
        throw new Error(`a request too many: ${JSON.stringify(requests)}`);
      }
    }
    return { outcome: String(end), reason: String(end), messages: requests.length };
  });
}

/** A request as a handler has to see it. */
function asHandled(request: ReadRequest, use: ContentUse): HandledRequest {
  const { method, target, host, upgrade, fields, content, trailers } = request;
  const read = use === "read";
  return {
    method,
    target,
    host,
    upgrade,
    fields: withoutEmptyRepeats(fields),
    content: read ? content : "",
    trailers: read ? trailers : [],
  };
}

/** An empty line of a field that has others says nothing; names in lower case. */
function withoutEmptyRepeats(fields: readonly string[]): string[] {
  const lines = fields.flatMap((name, i): [string, string][] =>
    i % 2 ? [] : [[name.toLowerCase(), fields[i + 1]!]]
  );
  for (let i = 0; i < lines.length; i++) {
    const [name, value] = lines[i]!;
    if (value === "" && lines.filter(([other]) => other === name).length > 1) lines.splice(i--, 1);
  }
  return lines.flat();
}

function compared(name: string, bytes: Uint8Array, cuts: readonly number[], run: () => Ending): Ending {
  try {
    return run();
  } catch (error) {
    throw new Error(`${name}: ${error}; ${JSON.stringify(latin1Text(bytes))}, cut at ${cuts}`, {
      cause: error,
    });
  }
}

function assertSame(first: string, a: unknown, second: string, b: unknown): void {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  if (one !== other) throw new Error(`${first} gave ${one}, ${second} ${other}`);
}

if (import.meta.main) {
  const [inputs = DEFAULT_INPUTS, seed = Math.floor(Math.random() * 2 ** 31)] = Deno.args.slice(0, 2).map(
    Number,
  );
  const kinds = KINDS.filter((kind) => Deno.args[2] === undefined || kind === Deno.args[2]);
  // deno-lint-ignore no-console
  const say = console.log;
  say(`${inputs} inputs of each kind from seed ${seed}: deno task fuzz ${inputs} ${seed}`);
  for (const what of kinds) {
    const begin = performance.now();
    const { outcomes, reasons, messages, slowestMs } = await fuzz(what, inputs, seed);
    const seconds = (performance.now() - begin) / 1000;
    const ends = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
    say(`${what}: ${ends}; ${messages} complete messages, ${reasons} reasons to refuse one`);
    say(`${what}: ${seconds.toFixed(1)} s, the slowest input ${slowestMs.toFixed(1)} ms`);
  }
}
