/** Opens the access log of a configuration. */

import { AccessLog } from "../observe/access_log.ts";
import type { ResolvedAccessLog } from "../observe/access_log_options.ts";
import { createLossLine } from "../observe/create_log.ts";
import { LineFile } from "../observe/line_file.ts";
import { LineWriter } from "../observe/line_writer.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import type { ProxyParts } from "./serve_options.ts";

/** An access log that is open. */
export interface OpenAccessLog extends AsyncDisposable {
  readonly log: AccessLog;
  /** Takes lines that another process has made. */
  lines(text: string): void;
  /** Opens its file anew, after somebody has moved it away; does nothing where there is none. */
  reopen(): void;
}

/**
 * Opens an access log.
 *
 * @throws when its file cannot be opened
 */
export function openAccessLog(
  options: ResolvedAccessLog,
  { clock, random, observer }: ProxyParts,
): OpenAccessLog {
  const onError = (name: string, error: unknown): void => reportCallbackError(observer, name, error);
  const open = (handler: { log(line: string): void }): AccessLog =>
    new AccessLog({ handler, options, clock, random, onError });
  if (typeof options.to === "object") {
    const { to } = options;
    const file = new LineFile({
      file: to,
      clock,
      onProblem: (problem) => observer.event({ kind: "access_log", path: to.path, problem }),
    });
    return {
      log: open(file),
      lines: (text) => text.split("\n").forEach((line) => file.log(line)),
      reopen: () => file.reopen(),
      [Symbol.asyncDispose]: () => Promise.resolve(file[Symbol.dispose]()),
    };
  }
  const writer = new LineWriter({
    sink: options.to === "stdout" ? Deno.stdout : Deno.stderr,
    clock,
    lossLine: createLossLine(options.format === "json" ? "json" : "text", clock),
  });
  return {
    log: open({ log: (line) => writer.line(line) }),
    lines: (text) => writer.line(text),
    reopen: () => {},
    [Symbol.asyncDispose]: async () => {
      await atMostASecond(writer.flush(), clock);
      writer[Symbol.dispose]();
    },
  };
}

/** Nobody may hold up the end by not reading the log. */
async function atMostASecond(flushed: Promise<void>, clock: ProxyParts["clock"]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  using _timer = clock.setTimer(resolve, 1000);
  await Promise.race([flushed, promise]);
}
