/** Messages between the supervisor and its workers. They are rare; no request waits for one. */

import type { ModuleTexts } from "../../config/module_graph.ts";
import type { NamedKey } from "../../limiter/busy_keys.ts";
import type { AccessEntry } from "../../observe/observer.ts";
import type { ProxyEvent } from "../../observe/events.ts";
import type { SharedSeries } from "../../observe/metrics/registry.ts";
import type { PlacedPool, PlacedServer } from "../serve_options.ts";

/** Memory that a worker inherits. */
export interface InheritedMemory {
  /** The process that has created it. */
  readonly owner: number;
  readonly descriptor: number;
  readonly byteLength: number;
}

/** A table of a limiter; its id distinguishes it from earlier tables, whose descriptor may be reused. */
interface InheritedTable extends InheritedMemory {
  readonly id: number;
}

/** The first message to a worker. */
export interface StartMessage {
  readonly kind: "start";
  /** Marks the messages of the worker. */
  readonly token: string;
  /** Number of the process. */
  readonly process: number;
  /** Number of the configuration to serve; 0 is the first. */
  readonly reload: number;
  /** The texts of the configuration's modules, as the files may have changed since; empty if it is not from a file. */
  readonly texts: ModuleTexts;
  /** Identifies the proxy in `CDN-Loop`. */
  readonly instanceId: string;
  /** Slot in which the requests of all workers are counted. */
  readonly overloadSlot: number;
  readonly servers: InheritedMemory;
  readonly metrics: InheritedMemory;
  readonly ledgers: InheritedMemory;
  /** The counts of the limiter; `null` if nothing is limited. */
  readonly table: InheritedTable | null;
  readonly pools: Readonly<Record<string, PlacedPool>>;
  /** Slots of the retry budgets of routes, by index of the route. */
  readonly budgets: Readonly<Record<number, number>>;
  /** Ports to listen at, in the order of the configuration; 0 for any free port. */
  readonly ports: readonly number[];
  /** Whether it serves Unix sockets too: only one process can listen at a socket file. */
  readonly servesSockets: boolean;
  /** Whether the worker writes access-log lines if the configuration has no `accessLog`. */
  readonly accessLines: boolean;
  /** Whether it sends an access-log entry for each request. */
  readonly accessEntries: boolean;
  /** The options of the program. */
  readonly options: unknown;
}

/** The place in memory where a worker counts a series. */
export interface ListedSeries extends Pick<SharedSeries, "labels" | "chunk" | "at"> {
  /** Name of the metric. */
  readonly name: string;
}

/** Requests a worker to load the configuration again. It is used when all workers have loaded it. */
export interface PrepareMessage
  extends Pick<StartMessage, "texts" | "servers" | "table" | "pools" | "budgets" | "ports"> {
  readonly kind: "prepare";
  /** Number of the reload: distinguishes it from earlier ones, for which messages of a worker may still arrive. */
  readonly id: number;
}

/** Messages of the supervisor. */
export type ToWorker =
  | StartMessage
  | PrepareMessage
  | { readonly kind: "commit" }
  | { readonly kind: "cancel"; readonly reason: string }
  | { readonly kind: "servers"; readonly pool: string; readonly servers: readonly PlacedServer[] }
  | { readonly kind: "keys"; readonly most: number }
  | { readonly kind: "stop"; readonly reason: string };

/** Messages of a worker. */
export type FromWorker =
  | { readonly kind: "listening"; readonly ports: readonly number[] }
  | { readonly kind: "series"; readonly series: readonly ListedSeries[] }
  | { readonly kind: "prepared"; readonly id: number }
  | { readonly kind: "loading"; readonly id: number }
  | { readonly kind: "committed" }
  | { readonly kind: "rejected"; readonly id: number; readonly problems: readonly string[] }
  | { readonly kind: "failed"; readonly name: string; readonly message: string }
  | { readonly kind: "event"; readonly event: ProxyEvent }
  | { readonly kind: "access"; readonly entry: AccessEntry }
  | { readonly kind: "keys"; readonly keys: readonly NamedKey[] }
  /** The state of servers in shared memory has changed, or unhealthy ones are to be checked. */
  | { readonly kind: "changed" }
  | { readonly kind: "stopped"; readonly abandonedRequests: number };

/** Begins a message. */
const MARK = "\x1e";

/**
 * Encodes a message as a line. `Infinity` is encoded as an object, because JSON has none.
 *
 * @param token known only to the supervisor and this worker
 */
export function writeMessage(message: ToWorker | FromWorker, token = ""): Uint8Array {
  const text = JSON.stringify(message, (_, value) => value === Infinity ? { $: "Infinity" } : value);
  return new TextEncoder().encode(`${MARK}${token}${text}\n`);
}

/** A line: text that is no message, and the message behind it. */
interface ReadLine<Message> {
  readonly text: string;
  readonly message: Message | null;
}

/**
 * Decodes a line. Code of the configuration may write any text to `stderr`, also what clients have sent, and text without a line
 * end before a message. Only a text with the token is a message.
 */
export function readMessage<Message extends ToWorker | FromWorker>(
  line: string,
  token = "",
): ReadLine<Message> {
  const mark = `${MARK}${token}`;
  const at = line.indexOf(mark);
  if (at < 0) return { text: line, message: null };
  try {
    const message = JSON.parse(
      line.slice(at + mark.length),
      (_, value) => value?.$ === "Infinity" ? Infinity : value,
    );
    return { text: line.slice(0, at), message };
  } catch {
    return { text: line, message: null };
  }
}

/** Reads a stream by lines. Text after the last line end is a line too, unless it is a truncated message. */
export async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    rest += text;
    // Messages may be far longer than one read.
    if (!text.includes("\n")) continue;
    const lines = rest.split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "" && !rest.startsWith(MARK)) yield rest;
}
