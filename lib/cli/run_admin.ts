/** The commands `lbproxy ctl` and `lbproxy top`. */

import type { Explanation } from "../admin/explain.ts";
import type { KeyStatus, Status } from "../admin/status.ts";
import { escapeControls } from "../observe/text_format.ts";
import { AdminClient, AdminError } from "./admin_client.ts";
import { formatExplanation, formatKeys, formatMoment, formatStatus } from "./format_status.ts";
import type { Io } from "./io.ts";
import type { CtlCommand, TopCommand } from "./parse_admin_arguments.ts";

const encoder = new TextEncoder();

/** Escape sequences: switch to the alternate screen without cursor, and back. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
/** How long `top` waits before it connects again, in milliseconds. */
const RECONNECT_MS = 1000;

/**
 * Runs one command, and returns the text to print.
 *
 * @throws {AdminError} when it fails
 */
export async function runCtl({ access, request, json }: CtlCommand, io: Io): Promise<string> {
  using client = new AdminClient(access);
  if (request.kind === "change") {
    const response = await client.post(request.path, request.body);
    return json ? writeJson(response) : `Done: ${escapeControls(response.done)}\n`;
  }
  if (request.kind === "keys") {
    const { policy, near } = request;
    const response = await client.get(
      `/limits/${encodeURIComponent(policy)}/keys?near=${encodeURIComponent(near)}`,
    );
    return json ? writeJson(response) : lines(formatKeys((response as { keys: KeyStatus[] }).keys));
  }
  if (request.kind === "explain") {
    const response = await client.get(`/explain?${request.query}`);
    return json ? writeJson(response) : lines(formatExplanation(response as Explanation));
  }
  const response = await client.get(`/${request.what}`);
  if (json) return writeJson(response);
  if (request.what === "config") return `${(response as { text: string }).text}\n`;
  const size = io.terminal();
  return lines(
    formatStatus(response as Status, {
      columns: size?.columns ?? Infinity,
      colored: size !== null && io.colored,
    }),
  );
}

/**
 * Shows the state repeatedly until a signal arrives: in place on a terminal, otherwise one line each time.
 *
 * @throws {AdminError} when the listener cannot be reached at the start
 */
export async function runTop({ access, count }: TopCommand, io: Io): Promise<void> {
  using client = new AdminClient(access);
  const ended = new AbortController();
  using _signals = io.onStopSignal(() => ended.abort());
  await client.status();
  const drawn = io.terminal() !== null;
  if (drawn) print(io, ENTER);
  try {
    let shown = 0;
    for await (
      const status of watch(
        client,
        ended.signal,
        (text) => drawn ? print(io, `\x1b[H\x1b[7m${text}\x1b[0m\x1b[K`) : print(io, `${text}\n`),
      )
    ) {
      if (drawn) draw(status, io);
      else print(io, `${formatMoment(status)}\n`);
      if (++shown >= count) return;
    }
  } finally {
    if (drawn) print(io, LEAVE);
  }
}

/** Yields each status that arrives, and connects again when the stream ends. */
async function* watch(
  client: AdminClient,
  signal: AbortSignal,
  report: (text: string) => void,
): AsyncGenerator<Status> {
  while (!signal.aborted) {
    try {
      yield* readStatuses(await client.events(signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof AdminError)) report(`The connection is lost: ${error}`);
      else report(error.message);
    }
    await pause(RECONNECT_MS, signal);
  }
}

async function* readStatuses(stream: ReadableStream<Uint8Array>): AsyncGenerator<Status> {
  let text = "";
  for await (
    const piece of stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    text += piece;
    const messages = text.split("\n\n");
    text = messages.pop()!;
    for (const message of messages) {
      const data = /^event: status\ndata: (.*)$/.exec(message)?.[1];
      if (data !== undefined) yield JSON.parse(data);
    }
  }
}

function draw(status: Status, io: Io): void {
  const { columns, rows } = io.terminal() ?? { columns: 80, rows: 24 };
  const all = formatStatus(status, { columns, colored: io.colored });
  const shown = all.slice(0, rows - 1);
  if (all.length > shown.length) shown[shown.length - 1] = `... ${all.length - shown.length + 1} more lines`;
  print(io, `\x1b[H${shown.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    resolve();
  };
  const timer = setTimeout(end, ms);
  signal.addEventListener("abort", end);
  return promise;
}

function writeJson(value: unknown): string {
  return `${escapeControls(JSON.stringify(value))}\n`;
}

function lines(all: readonly string[]): string {
  return `${all.join("\n")}\n`;
}

function print(io: Io, text: string): void {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(io.stdout.writeSync(bytes));
}
