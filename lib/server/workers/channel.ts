/** What a supervisor and its workers say to each other: rarely, and never because of a request. */

import type { ModuleTexts } from "../../config/module_graph.ts";
import type { NamedKey } from "../../limiter/busy_keys.ts";
import type { AccessEntry } from "../../observe/observer.ts";
import type { ProxyEvent } from "../../observe/events.ts";
import type { SharedSeries } from "../../observe/metrics/registry.ts";
import type { PlacedPool, PlacedServer } from "../serve_options.ts";

/** Memory that a worker inherits. */
export interface InheritedMemory {
  /** The process that has made it. */
  readonly owner: number;
  readonly descriptor: number;
  readonly byteLength: number;
}

/** A table of a limiter; its number tells it from earlier ones, whose descriptor it may have. */
interface InheritedTable extends InheritedMemory {
  readonly id: number;
}

/** The first message that a worker gets. */
export interface StartMessage {
  readonly kind: "start";
  /** Number of the process. */
  readonly process: number;
  /** Which configuration it is to serve: 0 is the first one. */
  readonly reload: number;
  /** The modules of the configuration, which may have changed since it was loaded; none where it is no file. */
  readonly texts: ModuleTexts;
  /** By what requests are known that come back. */
  readonly instanceId: string;
  /** Where the requests of all workers are counted. */
  readonly overloadSlot: number;
  readonly servers: InheritedMemory;
  readonly metrics: InheritedMemory;
  readonly ledgers: InheritedMemory;
  /** The counts of the limiter; `null` when nothing is limited. */
  readonly table: InheritedTable | null;
  readonly pools: Readonly<Record<string, PlacedPool>>;
  /** Where routes have budgets for retries, by their order. */
  readonly budgets: Readonly<Record<number, number>>;
  /** Ports to listen at, in the order of the configuration; 0 for any. */
  readonly ports: readonly number[];
  /** Whether it serves the sockets of the file system too, where only one process can listen. */
  readonly servesSockets: boolean;
  /** Whether the worker makes a line of each request, as far as the configuration says nothing of that. */
  readonly accessLines: boolean;
  /** Whether it sends an entry of each. */
  readonly accessEntries: boolean;
  /** What the program was run with. */
  readonly options: unknown;
}

/** Where a worker counts something. */
export interface ListedSeries extends Pick<SharedSeries, "labels" | "chunk" | "at"> {
  /** Name of the metric. */
  readonly name: string;
}

/** Has a worker load the configuration again, and use it once all have. */
export interface PrepareMessage
  extends Pick<StartMessage, "texts" | "servers" | "table" | "pools" | "budgets" | "ports"> {
  readonly kind: "prepare";
  /** Which one: tells it from earlier ones, which a worker may still speak of. */
  readonly id: number;
}

/** What a supervisor says. */
export type ToWorker =
  | StartMessage
  | PrepareMessage
  | { readonly kind: "commit" }
  | { readonly kind: "cancel"; readonly reason: string }
  | { readonly kind: "servers"; readonly pool: string; readonly servers: readonly PlacedServer[] }
  | { readonly kind: "keys"; readonly most: number }
  | { readonly kind: "stop"; readonly reason: string };

/** What a worker says. */
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
  | { readonly kind: "stopped"; readonly abandonedRequests: number };

/** Marks messages among the lines that a worker's runtime may write to `stderr`. */
const MARK = "\x1e";

/** Writes a message as a line. JSON knows no `Infinity`. */
export function writeMessage(message: ToWorker | FromWorker): Uint8Array {
  const text = JSON.stringify(message, (_, value) => value === Infinity ? { $: "Infinity" } : value);
  return new TextEncoder().encode(`${MARK}${text}\n`);
}

/** Reads a line; `null` when it is no message. */
export function readMessage<Message extends ToWorker | FromWorker>(line: string): Message | null {
  if (!line.startsWith(MARK)) return null;
  return JSON.parse(line.slice(1), (_, value) => value?.$ === "Infinity" ? Infinity : value);
}

/** Reads a stream by lines; what follows the last line end counts as a line too, unless it is a message that was cut. */
export async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    rest += text;
    // Messages may be far longer than what is read at once.
    if (!text.includes("\n")) continue;
    const lines = rest.split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "" && !rest.startsWith(MARK)) yield rest;
}
