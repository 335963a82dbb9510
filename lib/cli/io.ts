/** Input and output of the program: streams, signals, terminal, environment. */

import { nearestName } from "../core/describe_value.ts";
import type { ByteSink } from "../observe/line_writer.ts";

/** Signals that do not end the program. */
type OtherSignal = "SIGHUP" | "SIGUSR2";

/** Signals that end the program. */
export type StopSignal = "SIGINT" | "SIGTERM" | "SIGBREAK";

/** Input and output as an argument, so that the program can be tested without a process. */
export interface Io {
  readonly stdout: ByteSink;
  readonly stderr: ByteSink;
  /** Calls back at each signal that requests the end of the program. */
  onStopSignal(callback: (signal: StopSignal) => void): Disposable;
  /** Calls back at each such signal; never if the system does not have it. */
  onSignal(signal: OtherSignal, callback: () => void): Disposable;
  /** Calls back with each uncaught error or unhandled rejection, which then does not end the program. */
  onStrayError(callback: (error: unknown) => void): Disposable;
  /** Size of the terminal at `stdout`; `null` if `stdout` is not a terminal. */
  terminal(): { readonly columns: number; readonly rows: number } | null;
  /** Whether text may be coloured. */
  readonly colored: boolean;
  /** Ends the process at once. */
  exit(code: number): void;
}

/**
 * Reads an environment variable; `null` if it is not set, is empty, or may not be read.
 *
 * Does not let Deno prompt for the permission: the program must start and end without an operator at the terminal.
 */
export function readVariable(name: string): string | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  const value = state === "granted" ? Deno.env.get(name) : undefined;
  return value === undefined || value === "" ? null : value;
}

/** Writes text synchronously. */
export function print(sink: ByteSink, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(sink.writeSync(bytes));
}

const SIGNALS: readonly StopSignal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** Input and output of this process. */
export const processIo: Io = {
  stdout: Deno.stdout,
  stderr: Deno.stderr,
  onStopSignal(callback: (signal: StopSignal) => void): Disposable {
    const stack = new DisposableStack();
    for (const signal of SIGNALS) {
      const listener = () => callback(signal);
      Deno.addSignalListener(signal, listener);
      stack.defer(() => Deno.removeSignalListener(signal, listener));
    }
    return stack;
  },
  onSignal(signal: OtherSignal, callback: () => void): Disposable {
    if (Deno.build.os === "windows") return { [Symbol.dispose]: () => {} };
    Deno.addSignalListener(signal, callback);
    return { [Symbol.dispose]: () => Deno.removeSignalListener(signal, callback) };
  },
  onStrayError(callback: (error: unknown) => void): Disposable {
    const onRejection = (event: PromiseRejectionEvent) => {
      event.preventDefault();
      callback(event.reason);
    };
    const onError = (event: ErrorEvent) => {
      event.preventDefault();
      callback(event.error);
    };
    globalThis.addEventListener("unhandledrejection", onRejection);
    globalThis.addEventListener("error", onError);
    return {
      [Symbol.dispose](): void {
        globalThis.removeEventListener("unhandledrejection", onRejection);
        globalThis.removeEventListener("error", onError);
      },
    };
  },
  terminal: () => Deno.stdout.isTerminal() ? consoleSize() : null,
  colored: !Deno.noColor,
  exit: (code: number) => Deno.exit(code),
};

/** Size of the terminal; 80 by 24 if the terminal reports none. */
function consoleSize(): { readonly columns: number; readonly rows: number } {
  const { columns, rows } = Deno.consoleSize();
  return columns > 0 && rows > 0 ? { columns, rows } : { columns: 80, rows: 24 };
}

// Mistakes in the command line.

/** The command line has a mistake. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Accepts positional arguments; throws for unknown options. */
export function refuseOption(known: readonly string[]): (argument: string, key?: string) => boolean {
  return (argument, key) => {
    if (key === undefined) return true;
    const name = argument.split("=", 1)[0]!;
    const nearest = nearestName(key, known);
    const hint = nearest === undefined ? "see --help" : `did you mean --${nearest}?`;
    throw new UsageError(`Unknown option ${name}, ${hint}`);
  };
}
