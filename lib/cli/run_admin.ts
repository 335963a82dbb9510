/** The commands `lbproxy ctl` and `lbproxy top`. */

import type { Explanation } from "../admin/explain.ts";
import type { KeyStatus, Status } from "../admin/status.ts";
import { escapeControls } from "../observe/text_format.ts";
import { AdminClient, AdminError } from "./admin_client.ts";
import { formatExplanation, formatKeys, formatMoment, formatStatus } from "./format_status.ts";
import type { Io } from "./io.ts";
import type { CtlCommand, TopCommand } from "./parse_admin_arguments.ts";

const encoder = new TextEncoder();

/** Alternate screen without cursor, and back. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
/** How long the listener is waited for before `top` asks again. */
const AGAIN_MS = 1000;

/**
 * Does one thing, and returns what to print.
 *
 * @throws {AdminError} when it cannot be done
 */
export async function runCtl({ access, request, json }: CtlCommand, io: Io): Promise<string> {
  using client = new AdminClient(access);
  if (request.kind === "change") {
    const answer = await client.post(request.path, request.body);
    return json ? writeJson(answer) : `Done: ${escapeControls(answer.done)}\n`;
  }
  if (request.kind === "keys") {
    const { policy, near } = request;
    const answer = await client.get(
      `/limits/${encodeURIComponent(policy)}/keys?near=${encodeURIComponent(near)}`,
    );
    return json ? writeJson(answer) : lines(formatKeys((answer as { keys: KeyStatus[] }).keys));
  }
  if (request.kind === "explain") {
    const answer = await client.get(`/explain?${request.query}`);
    return json ? writeJson(answer) : lines(formatExplanation(answer as Explanation));
  }
  const answer = await client.get(`/${request.what}`);
  if (json) return writeJson(answer);
  if (request.what === "config") return `${(answer as { text: string }).text}\n`;
  const size = io.terminal();
  return lines(
    formatStatus(answer as Status, {
      columns: size?.columns ?? Infinity,
      colored: size !== null && io.colored,
    }),
  );
}

/**
 * Shows the state again and again until a signal comes: in place where it is a terminal, otherwise a line each.
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

/** Gives each status that comes, and connects again when the stream ends. */
async function* watch(
  client: AdminClient,
  signal: AbortSignal,
  tell: (text: string) => void,
): AsyncGenerator<Status> {
  while (!signal.aborted) {
    try {
      yield* readStatuses(await client.events(signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof AdminError)) tell(`The connection is lost: ${error}`);
      else tell(error.message);
    }
    await pause(AGAIN_MS, signal);
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
